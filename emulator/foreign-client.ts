import { writeFile } from 'node:fs/promises';

export interface ForeignClientOptions {
  /** Of a proxy that leads to the emulated services. */
  readonly proxyUrl: string;
  /** PEM file of the emulator's TLS root. */
  readonly caFile: string;
  /** Whom the metadata service behind the proxy gives tokens for. */
  readonly clientId: string;
  /**
   * Unix socket of the vTPM, for one that plays the machine.
   * @default - none
   */
  readonly vtpm?: string;
}

/** Variables by which HTTP clients of any language are told of a proxy and of a root to trust. */
export function foreignEnvironment(options: ForeignClientOptions): Readonly<Record<string, string>> {
  const { proxyUrl, caFile, clientId, vtpm } = options;
  const proxies = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'];
  // Python's requests, OpenSSL, curl, Node.
  const roots = ['REQUESTS_CA_BUNDLE', 'SSL_CERT_FILE', 'CURL_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS'];
  return {
    ...Object.fromEntries(proxies.map((name) => [name, proxyUrl])),
    // The metadata service's address is what such a list names first.
    NO_PROXY: '',
    no_proxy: '',
    ...Object.fromEntries(roots.map((name) => [name, caFile])),
    // DefaultAzureCredential of every Azure SDK takes the managed identity of this name.
    AZURE_CLIENT_ID: clientId,
    ...(vtpm === undefined ? {} : { CTRAIN_VTPM: vtpm }),
  };
}

/** Writes them as a file for `. FILE` in a shell. */
export async function writeEnvironment(file: string, variables: Readonly<Record<string, string>>): Promise<void> {
  const quote = (value: string) => `'${value.replaceAll("'", `'\\''`)}'`;
  const lines = Object.entries(variables).map(([name, value]) => `export ${name}=${quote(value)}\n`);
  await writeFile(file, lines.join(''));
}
