import { EVENT, FIRST_DIGEST_LENGTH, NAME_LENGTH, parseEventLog, SPEC_ID } from '../runtime/attestation/event-log.ts';
import { GRUB_TEXTS, replayPcrs } from '../runtime/attestation/event-log-replay.ts';
import { GLOBAL_VARIABLE, SECURITY_DATABASE } from '../runtime/attestation/uefi-data.ts';
import { concat, fromHex, sha256, utf8 } from '../runtime/crypto/bytes.ts';

/** What an emulated boot may do differently. */
export interface BootChanges {
  /** @default true */
  readonly secureBoot?: boolean;
}

const SHA256 = 0x0b;
const KERNEL = '/vmlinuz-emulated';
const INITRD = '/initrd-emulated.img';
const COMMAND_LINE = `${KERNEL} root=LABEL=emulated ro lockdown=integrity`;

/**
 * The log of an emulated machine's boot: shim, GRUB and a kernel below keys and programs that are made up, in the order in
 * which Azure's firmware and Ubuntu's boot loaders measure theirs.
 */
export function emulatedEventLog({ secureBoot = true }: BootChanges = {}): Uint8Array {
  return concat(
    specId(),
    plain(0, EVENT.crtmVersion, utf16('confidential-training emulator\0')),
    variable(GLOBAL_VARIABLE, 'SecureBoot', Uint8Array.of(secureBoot ? 1 : 0)),
    ...(['PK', 'KEK'] as const).map((name) => variable(GLOBAL_VARIABLE, name, signatureList(X509_LIST, `${name} key`))),
    variable(SECURITY_DATABASE, 'db', signatureList(X509_LIST, 'db key')),
    variable(SECURITY_DATABASE, 'dbx', signatureList(SHA256_LIST, sha256(utf8('a revoked boot loader')))),
    plain(7, EVENT.separator, new Uint8Array(4)),
    plain(4, EVENT.efiAction, utf8('Calling EFI Application from Boot Option')),
    ...[0, 1, 2, 3, 4, 5, 6].map((pcr) => plain(pcr, EVENT.separator, new Uint8Array(4))),
    program('\\EFI\\ubuntu\\shimx64.efi'),
    program('\\EFI\\ubuntu\\grubx64.efi'),
    grubText('command', `linux ${COMMAND_LINE}`),
    grubFile(KERNEL),
    grubText('commandLine', COMMAND_LINE),
    grubText('command', `initrd ${INITRD}`),
    grubFile(INITRD),
    plain(5, EVENT.efiAction, utf8('Exit Boot Services Invocation')),
    plain(5, EVENT.efiAction, utf8('Exit Boot Services Returned with Success')),
  );
}

/** PCR values of a machine that booted as `log` says, and measured nothing since. */
export function pcrsAfter(log: Uint8Array): ReadonlyMap<number, Uint8Array> {
  return replayPcrs(parseEventLog(log));
}

/** TCG_PCClientPCREvent with a TCG_EfiSpecIDEvent for one bank: platform class client, version 2.0 errata 2, UINTN of 8 bytes. */
function specId(): Uint8Array {
  const name = new Uint8Array(NAME_LENGTH);
  name.set(utf8(SPEC_ID));
  const data = concat(name, u32(0), Uint8Array.of(0, 2, 2, 2), u32(1), u16(SHA256), u16(32), Uint8Array.of(0));
  return concat(u32(0), u32(EVENT.noAction), new Uint8Array(FIRST_DIGEST_LENGTH), u32(data.length), data);
}

/** TCG_PCR_EVENT2. */
function event(pcr: number, type: number, digest: Uint8Array, data: Uint8Array): Uint8Array {
  return concat(u32(pcr), u32(type), u32(1), u16(SHA256), digest, u32(data.length), data);
}

/** An event whose data is what is measured. */
function plain(pcr: number, type: number, data: Uint8Array): Uint8Array {
  return event(pcr, type, sha256(data), data);
}

function variable(guid: string, name: string, value: Uint8Array): Uint8Array {
  const data = concat(fromHex(guid), u64(name.length), u64(value.length), utf16(name), value);
  return plain(7, EVENT.variableDriverConfig, data);
}

/** EFI_CERT_X509_GUID and EFI_CERT_SHA256_GUID as stored. */
const X509_LIST = 'a159c0a5e494a74a87b5ab155c2bf072';
const SHA256_LIST = '2616c4c14c509240aca941f936934328';

/** EFI_SIGNATURE_LIST with one entry, after the id of its owner. */
function signatureList(type: string, entry: string | Uint8Array): Uint8Array {
  const content = concat(sha256(utf8('owner')).slice(0, 16), typeof entry === 'string' ? utf8(entry) : entry);
  return concat(fromHex(type), u32(28 + content.length), u32(0), u32(content.length), content);
}

/** UEFI_IMAGE_LOAD_EVENT with a device path of one file and the node that ends it. */
function program(path: string): Uint8Array {
  const text = utf16(`${path}\0`);
  const devicePath = concat(Uint8Array.of(4, 4), u16(4 + text.length), text, Uint8Array.of(0x7f, 0xff), u16(4));
  const data = concat(u64(0), u64(0), u64(0), u64(devicePath.length), devicePath);
  return event(4, EVENT.bootServicesApplication, sha256(utf8(`program at ${path}`)), data);
}

function grubText(kind: keyof typeof GRUB_TEXTS, text: string): Uint8Array {
  return event(8, EVENT.ipl, sha256(utf8(text)), utf8(`${GRUB_TEXTS[kind]}${text}\0`));
}

function grubFile(path: string): Uint8Array {
  return event(9, EVENT.ipl, sha256(utf8(`file at ${path}`)), utf8(`${path}\0`));
}

function utf16(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'utf16le'));
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >> 8);
}

function u32(value: number): Uint8Array {
  return concat(u16(value & 0xffff), u16(value >>> 16));
}

function u64(value: number): Uint8Array {
  return concat(u32(value), u32(0));
}
