import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EMPTY_HEAD, EventChain, nextHead, type SecurityEvent } from '../../runtime/events.ts';

const RUN = { RunId: 'run-1', Machine: '/subscriptions/s/vm', Agreement: 'a'.repeat(64) };
const AT = new Date('2026-11-23T12:00:00Z');

function record(details: readonly string[]): { events: SecurityEvent[]; head: string } {
  const events: SecurityEvent[] = [];
  const chain = new EventChain(RUN, (event) => events.push(event));
  for (const detail of details) chain.record('data.opened', 'success', detail, AT, { KeyId: 'key' });
  return { events, head: chain.head };
}

const replay = (events: readonly SecurityEvent[]) => events.reduce(nextHead, EMPTY_HEAD);

test('the head after the last event follows from the events alone', () => {
  const { events, head } = record(['a', 'b', 'c']);
  expect(replay(events)).toBe(head);
  expect(events.at(-1)?.Head).toBe(head);
});

test.each(['RunId', 'Machine', 'Agreement', 'Event', 'Outcome', 'Detail', 'KeyId', 'Manifest'] as const)(
  '%s is part of what is chained',
  (column) => {
    const { events, head } = record(['a']);
    expect(replay(events.map((event) => ({ ...event, [column]: 'x' })))).not.toBe(head);
  },
);

test('a missing, swapped or edited event shows', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string(), { minLength: 2, maxLength: 6 }), fc.nat(), (details, at) => {
      const { events, head } = record(details);
      const index = at % events.length;
      expect(replay(events.filter((_, i) => i !== index))).not.toBe(head);
      expect(
        replay(events.map((event, i) => (i === index ? { ...event, Detail: `${event.Detail}!` } : event))),
      ).not.toBe(head);
      expect(replay(events.toReversed())).not.toBe(head);
    }),
  );
});
