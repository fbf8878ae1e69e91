import { equalBytes, sha256, toHex, utf8 } from '../crypto/bytes.ts';
import { EVENT, type LoggedEvent, parseEventLog } from './event-log.ts';
import { grubText, isMeasured, LOGGED_PCRS, replayPcrs } from './event-log-replay.ts';
import {
  countSignatures,
  GLOBAL_VARIABLE,
  imageFilePath,
  readVariable,
  SECURITY_DATABASE,
  type SignatureCount,
  type UefiVariable,
  utf16,
} from './uefi-data.ts';

/**
 * Something the log says. `authenticated`: a quoted PCR holds the event's digest, and where the digest is a hash of what
 * is said here, it is the right one. Paths, and which of the measured files is called a kernel, no digest covers; and
 * whoever is root later can measure more into any PCR but cannot take anything back. Explanation, not proof of identity:
 * a policy that wants that compares PCR values.
 */
export interface Stated {
  readonly authenticated: boolean;
}

/** A program or file that was measured before it ran or was read. */
export interface MeasuredFile extends Stated {
  /** SHA-256, hex: of the file, or of a UEFI program as Authenticode hashes it. */
  readonly digest: string;
  /** What the log calls it: nothing vouches for it. */
  readonly path?: string;
}

type SignatureDatabase = 'PK' | 'KEK' | 'db' | 'dbx';

/** A variable that decides what secure boot lets start. Counts are missing where its content could not be read. */
interface SignatureVariable extends Stated, Partial<SignatureCount> {
  readonly name: SignatureDatabase;
  /** SHA-256 of the variable's content, hex. */
  readonly digest: string;
}

/** How a machine came to run what it runs, by its event log. */
export interface BootFacts {
  /** @default - the log does not say */
  readonly secureBoot?: Stated & { readonly enabled: boolean };
  readonly signatureVariables: readonly SignatureVariable[];
  /** UEFI programs in the order in which they were started: shim and GRUB, or a unified kernel image. */
  readonly bootLoaders: readonly MeasuredFile[];
  /** @default - the log does not say */
  readonly kernel?: MeasuredFile;
  readonly initrds: readonly MeasuredFile[];
  /** @default - the log does not say, or only by a digest */
  readonly commandLine?: Stated & { readonly text: string };
}

export interface ExaminedLog {
  readonly facts: BootFacts;
  /** Whether each of {@link LOGGED_PCRS} that is quoted holds what the log's events make of it. */
  readonly replays: boolean;
}

const PCR = { loader: 4, secureBoot: 7, grubText: 8, grubFile: 9, unifiedKernel: 11, stubText: 12 } as const;
const SEPARATOR_DIGEST = sha256(new Uint8Array(4));

/**
 * Parses and replays a log, and reads what it says of the boot.
 * @param quoted values of the PCRs that a quote covers
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`
 */
export function examineEventLog(bytes: Uint8Array, quoted: ReadonlyMap<number, Uint8Array>): ExaminedLog {
  const log = parseEventLog(bytes);
  const replayed = replayPcrs(log);
  const holds = (pcr: number): boolean =>
    equalBytes(quoted.get(pcr) ?? new Uint8Array(), replayed.get(pcr) ?? new Uint8Array(1));
  return {
    facts: readBootFacts(log.events, holds),
    replays: LOGGED_PCRS.every((pcr) => !quoted.has(pcr) || holds(pcr)),
  };
}

function readBootFacts(all: readonly LoggedEvent[], holds: (pcr: number) => boolean): BootFacts {
  const events = all.filter(({ type }) => type !== EVENT.noAction);
  const of = (pcr: number, type: number) => events.filter((event) => event.pcr === pcr && event.type === type);
  const measured = (event: LoggedEvent): Stated => ({ authenticated: holds(event.pcr) && isMeasured(event) });
  const fileOf = (event: LoggedEvent, path?: string): MeasuredFile => ({
    digest: toHex(event.digest),
    ...(path === undefined || path === '' ? {} : { path }),
    authenticated: holds(event.pcr),
  });

  const variables = firmwareVariables(events);
  const [secureBoot] = variables.filter(({ variable: { guid, name } }) => isNamed('SecureBoot', guid, name));
  const [grubLine] = of(PCR.grubText, EVENT.ipl).filter((event) => grubText(event, ['commandLine']) !== undefined);
  const [stubLine] = of(PCR.stubText, EVENT.ipl);
  const line = grubLine ?? stubLine;
  const text = line && (line === grubLine ? utf8Text(grubText(line) ?? line.data) : utf16(line.data));
  const grub = grubFiles(of(PCR.grubFile, EVENT.ipl), of(PCR.grubText, EVENT.ipl), text);
  const sections = unifiedSections(of(PCR.unifiedKernel, EVENT.ipl));
  const kernel = grub.kernel ?? sections.get('.linux');
  const initrds = [...grub.initrds, sections.get('.initrd')].filter((event) => event !== undefined);
  const pathOf = (event: LoggedEvent) => (event.pcr === PCR.grubFile ? utf8Text(event.data) : undefined);
  return {
    ...(secureBoot === undefined
      ? {}
      : { secureBoot: { enabled: secureBoot.variable.value[0] === 1, ...measured(secureBoot.event) } }),
    signatureVariables: variables.flatMap(({ event, variable: { guid, name, value } }) => {
      const database = DATABASES.find((known) => isNamed(known, guid, name));
      if (database === undefined) return [];
      return [{ name: database, digest: toHex(sha256(value)), ...countSignatures(value), ...measured(event) }];
    }),
    bootLoaders: of(PCR.loader, EVENT.bootServicesApplication).map((event) => fileOf(event, imageFilePath(event.data))),
    ...(kernel === undefined ? {} : { kernel: fileOf(kernel, pathOf(kernel)) }),
    initrds: initrds.map((event) => fileOf(event, pathOf(event))),
    ...(line === undefined || text === undefined ? {} : { commandLine: { text, ...measured(line) } }),
  };
}

const DATABASES: readonly SignatureDatabase[] = ['PK', 'KEK', 'db', 'dbx'];

/** A variable is named by its owner too: anybody may have a variable of his own that is called SecureBoot. */
function isNamed(wanted: SignatureDatabase | 'SecureBoot', guid: string, name: string): boolean {
  return name === wanted && guid === (wanted === 'db' || wanted === 'dbx' ? SECURITY_DATABASE : GLOBAL_VARIABLE);
}

/**
 * The variables that firmware measured: those before the first separator, told by its digest because the type can be a lie.
 * What comes after it in PCR 7, an operating system may have measured to look as if secure boot had been on.
 */
function firmwareVariables(events: readonly LoggedEvent[]): { event: LoggedEvent; variable: UefiVariable }[] {
  const ofPcr = events.filter(({ pcr }) => pcr === PCR.secureBoot);
  const end = ofPcr.findIndex(({ digest }) => equalBytes(digest, SEPARATOR_DIGEST));
  return ofPcr.slice(0, end < 0 ? undefined : end).flatMap((event) => {
    const variable = event.type === EVENT.variableDriverConfig ? readVariable(event.data) : undefined;
    return variable === undefined ? [] : [{ event, variable }];
  });
}

/** GRUB measures every file it reads into PCR 9, by name; commands and command line, in PCR 8, say which are which. */
function grubFiles(
  files: readonly LoggedEvent[],
  texts: readonly LoggedEvent[],
  commandLine: string | undefined,
): { readonly kernel: LoggedEvent | undefined; readonly initrds: readonly LoggedEvent[] } {
  const named = new Map(files.map((event) => [utf8Text(event.data), event]));
  const initrd = texts
    .map((event) => grubText(event, ['command']))
    .map((text) => (text === undefined ? [] : utf8Text(text).split(/\s+/)))
    .findLast(([command]) => command === 'initrd' || command === 'initrdefi');
  return {
    kernel: named.get(commandLine?.split(' ', 1)[0] ?? ''),
    initrds: (initrd ?? []).slice(1).flatMap((path) => named.get(path) ?? []),
  };
}

/**
 * What systemd-stub measures of a unified kernel image: for each section its name, then its content; both are logged under
 * the name (src/boot/stub.c). The name is believed only where its own digest is that of the name with the zero after it.
 */
function unifiedSections(events: readonly LoggedEvent[]): ReadonlyMap<string, LoggedEvent> {
  const sections = new Map<string, LoggedEvent>();
  events.forEach((event, i) => {
    const name = utf16(event.data);
    const content = events[i + 1];
    if (content !== undefined && equalBytes(event.digest, sha256(utf8(`${name}\0`)))) sections.set(name, content);
  });
  return sections;
}

function utf8Text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes).replace(/\0$/, '');
}
