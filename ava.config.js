export default {
  files: ['test/**/*.test.ts'],
  extensions: ['ts'],
  workerThreads: false,
  require: ['./test/support/at-completion.ts', './test/support/illegal-transitions.ts'],
  // Two cores are what CI has; more files at once only make each slower.
  concurrency: 2,
  timeout: '2m',
}
