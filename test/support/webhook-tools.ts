/** The Python that has the library of Standard Webhooks. */
import { findTool } from './find-tool.ts'

export const pythonWithStandardWebhooks = findTool('python-with-standardwebhooks', 'PYTHON_WITH_STANDARDWEBHOOKS', '--version')
