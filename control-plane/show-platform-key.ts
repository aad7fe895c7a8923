/** Prints the key on standard output and nowhere else: not in the log, which is kept and shipped. */
export const showNewPlatformKey = (secret: string | undefined): void => {
  if (secret) process.stdout.write(`platform key, shown only once (set PLATFORM_API_KEY to choose your own): ${secret}\n`)
}
