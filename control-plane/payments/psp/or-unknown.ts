/** The answer to a question that could not be asked, or whose answer says nothing: nobody knows. */

/** @param codeOf the code of an error, in the provider's words or of the way to it. */
export const orUnknown = async <Outcome>(
  codeOf: (error: unknown) => string,
  work: () => Promise<Outcome>,
): Promise<Outcome | { status: 'unknown'; pspCode: string }> => {
  try {
    return await work()
  } catch (error) {
    return { status: 'unknown', pspCode: codeOf(error) }
  }
}
