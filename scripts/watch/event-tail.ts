import { open } from 'node:fs/promises';
import type { SecurityEvent } from '../../runtime/events.ts';

/** Read at a time; a line that is longer is none of ours. */
const CHUNK_BYTES = 1 << 20;
const KEPT_EVENTS = 2_000;

/** The events of one run in a file that grows: reads what was added, keeps the last ones, passes over what is no event. */
export function eventTail(file: string | undefined, runId: string): () => Promise<readonly SecurityEvent[]> {
  let offset = 0;
  let rest = '';
  let events: SecurityEvent[] = [];
  return async () => {
    if (file === undefined) return [];
    const handle = await open(file, 'r').catch(() => undefined);
    if (handle === undefined) return events;
    try {
      // A file that has shrunk is another one: the emulator was started afresh.
      if ((await handle.stat()).size < offset) [offset, rest, events] = [0, '', []];
      for (;;) {
        const { bytesRead, buffer } = await handle.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, offset);
        if (bytesRead === 0) break;
        offset += bytesRead;
        const lines = (rest + buffer.subarray(0, bytesRead).toString('latin1')).split('\n');
        rest = (lines.pop() ?? '').slice(-CHUNK_BYTES);
        events = [...events, ...lines.flatMap((line) => parse(line, runId))].slice(-KEPT_EVENTS);
      }
    } finally {
      await handle.close();
    }
    return events;
  };
}

const TEXTS = [
  'TimeGenerated',
  'RunId',
  'Machine',
  'Agreement',
  'Event',
  'Outcome',
  'Detail',
  'KeyId',
  'Manifest',
  'Head',
];

function parse(latin: string, runId: string): SecurityEvent[] {
  try {
    // Cut between bytes, decoded by the line: a character may lie across two reads.
    const row = JSON.parse(Buffer.from(latin, 'latin1').toString('utf8')) as Record<string, unknown>;
    if (row.RunId !== runId || !TEXTS.every((name) => typeof row[name] === 'string')) return [];
    return [row as unknown as SecurityEvent];
  } catch {
    return [];
  }
}
