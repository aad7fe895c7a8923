/** Waits until a condition holds. For things that happen elsewhere and announce themselves nowhere; fails loudly. */
const LOOK_EVERY_MS = 10

export const eventually = async (condition: () => boolean | Promise<boolean>, withinMs = 15_000, everyMs = LOOK_EVERY_MS): Promise<void> => {
  const until = Date.now() + withinMs
  while (!(await condition())) {
    if (Date.now() > until) throw new Error(`did not become true within ${withinMs} ms: ${condition}`)
    await new Promise((resolve) => setTimeout(resolve, everyMs))
  }
}
