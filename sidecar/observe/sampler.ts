/** True for one of so many, evenly. @param share 0: never; 1: always. */
export const sampler = (share: number): (() => boolean) => {
  let asked = 0
  let taken = 0
  return () => {
    asked += 1
    // Not by adding up shares: a tenth, ten times, is less than one.
    if (Math.floor(asked * share + 1e-9) <= taken) return false
    taken += 1
    return true
  }
}
