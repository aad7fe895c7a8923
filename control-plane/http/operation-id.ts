/**
 * The name that generated clients give an operation. It follows from the method and the path, so that it stays while these do:
 * `PATCH /v1/storefronts/{storefront}/customers/{customer}` is `patchStorefrontCustomer`, the list is
 * `getStorefrontCustomers`.
 */
const capital = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1)

const singular = (noun: string): string => noun.replace(/ies$/, 'y').replace(/s$/, '')

export const operationId = (method: string, path: string): string => {
  const segments = path.split('/').filter((segment) => segment !== '' && segment !== 'v1')
  const nouns = segments.flatMap((segment, n) => {
    if (segment.startsWith('{')) return []
    // One of them is meant where an id follows.
    return [segments[n + 1]?.startsWith('{') ? singular(segment) : segment]
  })
  const words = nouns.flatMap((noun) => noun.split(/[^A-Za-z0-9]+/))
  return method + words.map(capital).join('')
}
