import { printable } from '../../runtime/shape.ts';
import type { AccessEntry } from './access-log.ts';

const COLUMNS = ['first at', 'who', 'what', 'key, manifest', 'explained by'];

interface TableRow {
  readonly at: string;
  readonly cells: readonly string[];
  times: number;
}

/** The log for people: what is explained and repeats has one line with its number, what is not has a line each time. */
export function accessTable(entries: readonly AccessEntry[], trainerPrincipal: string): string[] {
  const rows: TableRow[] = [];
  const explained = new Map<string, TableRow>();
  for (const entry of entries) {
    const row = { at: entry.at, cells: cellsOf(entry, trainerPrincipal), times: 1 };
    const same = explained.get(row.cells.join('\t'));
    if (same !== undefined) same.times++;
    else rows.push(row);
    if (entry.explained !== '' && same === undefined) explained.set(row.cells.join('\t'), row);
  }
  const lines = [
    COLUMNS,
    ...rows.map(({ at, cells: [who = '', what = '', about = '', why = ''], times }) => [
      at.replace(/\.\d+Z$/, 'Z'),
      who,
      times === 1 ? what : `${what} (${times} times)`,
      about,
      why,
    ]),
  ];
  const widths = COLUMNS.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  return lines.map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** Logs hold what callers wrote: nothing of it may move the cursor. */
function cellsOf(entry: AccessEntry, trainerPrincipal: string): string[] {
  const { source, who, what, outcome, keyId, manifest, explained, flag, pending } = entry;
  const [key = '', version = ''] = keyId.replace(/^.*\/keys\//, '').split('/');
  const about = [version === '' ? key : `${key}/${version.slice(0, 8)}`, manifest.slice(0, 12)];
  const why = flag !== undefined ? `✗ ${flag}` : pending !== undefined ? `? ${pending}` : explained;
  const whom = who === '' ? 'nobody' : who === trainerPrincipal ? 'machines' : who.replace(/^.*\//, '');
  const done = outcome === 'success' ? '' : ', failed';
  return [whom, `${source}: ${shortened(what)}${done}`, about.filter((part) => part !== '').join(' '), why].map(
    printable,
  );
}

/** Digests and owner ids, whole ones being in the machine-readable form. */
function shortened(text: string): string {
  return text
    .replace(/[0-9a-f]{64}/g, (digest) => digest.slice(0, 12))
    .replace(/[\w-]{43}(?=\/|$)/g, (id) => id.slice(0, 12));
}
