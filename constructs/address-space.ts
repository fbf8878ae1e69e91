/** An IPv4 network: address as a number, and the length of its prefix. Pure arithmetic, no names. */
export interface AddressSpace {
  readonly network: number;
  readonly prefixLength: number;
}

// RFC 1918; anything else is either not routable here or somebody else's.
const PRIVATE: readonly AddressSpace[] = [
  { network: 0x0a000000, prefixLength: 8 },
  { network: 0xac100000, prefixLength: 12 },
  { network: 0xc0a80000, prefixLength: 16 },
];

/** `10.60.0.0/24`; undefined where it is not a network: four numbers, a length, no bit set behind it. */
export function parseAddressSpace(text: string): AddressSpace | undefined {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(text)?.slice(1).map(Number);
  if (parts === undefined) return undefined;
  const [a = 0, b = 0, c = 0, d = 0, prefixLength = 0] = parts;
  if ([a, b, c, d].some((part) => part > 255) || prefixLength > 32) return undefined;
  const network = a * 2 ** 24 + b * 2 ** 16 + c * 2 ** 8 + d;
  return network % 2 ** (32 - prefixLength) === 0 ? { network, prefixLength } : undefined;
}

export function formatAddressSpace({ network, prefixLength }: AddressSpace): string {
  return `${formatAddress(network)}/${prefixLength}`;
}

/** The n-th address of a network, counted from its own. */
export function addressAt({ network }: AddressSpace, n: number): string {
  return formatAddress(network + n);
}

export function isPrivate(space: AddressSpace): boolean {
  return PRIVATE.some((range) => contains(range, space));
}

export function overlaps(a: AddressSpace, b: AddressSpace): boolean {
  return contains(a, b) || contains(b, a);
}

/** Lower and upper half. */
export function halves({ network, prefixLength }: AddressSpace): readonly [AddressSpace, AddressSpace] {
  const length = prefixLength + 1;
  return [
    { network, prefixLength: length },
    { network: network + 2 ** (32 - length), prefixLength: length },
  ];
}

function contains(outer: AddressSpace, inner: AddressSpace): boolean {
  const size = 2 ** (32 - outer.prefixLength);
  return inner.prefixLength >= outer.prefixLength && inner.network - (inner.network % size) === outer.network;
}

function formatAddress(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
}
