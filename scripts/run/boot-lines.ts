import type { BootFacts, MeasuredFile, Stated } from '../../runtime/attestation/boot-facts.ts';

/** What an event log says of a boot, a line for each thing; `undefined` where a machine showed no log. */
export function bootLines(boot: BootFacts | undefined): readonly string[] {
  if (boot === undefined) return ['event log: none shown'];
  const { secureBoot, signatureVariables, bootLoaders, kernel, initrds, commandLine } = boot;
  const file = (what: string, found: MeasuredFile) =>
    line(what, `${found.path === undefined ? '' : `${found.path} `}sha-256 ${found.digest}`, found);
  return [
    ...(secureBoot === undefined ? [] : [line('secure boot', secureBoot.enabled ? 'on' : 'off', secureBoot)]),
    ...signatureVariables.map(({ name, digest, certificates = '?', hashes = '?', authenticated }) =>
      line(name, `${certificates} certificates, ${hashes} hashes, sha-256 ${digest}`, { authenticated }),
    ),
    ...bootLoaders.map((loader) => file('boot loader', loader)),
    ...(kernel === undefined ? [] : [file('kernel', kernel)]),
    ...initrds.map((initrd) => file('initrd', initrd)),
    ...(commandLine === undefined ? [] : [line('command line', commandLine.text, commandLine)]),
  ];
}

/** Facts of rejected evidence: nothing that its quote was to bear out is. */
export function unvouched(boot: BootFacts): BootFacts {
  return JSON.parse(JSON.stringify(boot), (name, value) => (name === 'authenticated' ? false : value)) as BootFacts;
}

/** Texts come from the machine: whatever a terminal might obey is shown as a question mark. */
function line(what: string, text: string, { authenticated }: Stated): string {
  return `${what}: ${text.replace(/[^\x20-\x7e]/g, '?')}${authenticated ? '' : ' (not authenticated)'}`;
}
