import type { Row } from '../../runtime/alerts/condition.ts';
import { type AlertRule, evaluateAlert, type FiringAlert, type LogTable } from '../../runtime/alerts/rule.ts';

/** One alert over the time that it fired. */
export interface AlertSpan extends FiringAlert {
  /** When a rule first saw it, and whether it still does at the end. */
  readonly firedAt: Date;
  readonly isFiring: boolean;
}

const MINUTE = 60_000;

/**
 * What would have fired from a time to another, had each rule looked as often as it says: at `to`, and every so many minutes before.
 * An alert that fires again after a look without it is another one. Gravest first, then by time.
 */
export function alertHistory(
  rules: readonly AlertRule[],
  rowsOf: (table: LogTable) => readonly Row[],
  from: Date,
  to: Date,
): readonly AlertSpan[] {
  return rules
    .flatMap((rule) => spansOf(rule, rowsOf(rule.table), from, to))
    .sort((a, b) => a.rule.severity - b.rule.severity || a.firedAt.getTime() - b.firedAt.getTime());
}

function spansOf(rule: AlertRule, rows: readonly Row[], from: Date, to: Date): AlertSpan[] {
  const every = rule.everyMinutes * MINUTE;
  const looks = Math.floor((to.getTime() - from.getTime()) / every);
  const ended: AlertSpan[] = [];
  let open = new Map<string, AlertSpan>();
  for (let look = looks; look >= 0; look--) {
    const now = new Date(to.getTime() - look * every);
    // A row that came later was not there yet.
    const known = rows.filter(({ TimeGenerated }) => !(Date.parse(String(TimeGenerated)) > now.getTime()));
    const firing = new Map<string, AlertSpan>();
    for (const alert of evaluateAlert(rule, known, now)) {
      const key = JSON.stringify(alert.dimensions);
      const before = open.get(key);
      const longer = before === undefined ? {} : { from: before.from, value: Math.max(before.value, alert.value) };
      firing.set(key, { ...alert, ...longer, firedAt: before?.firedAt ?? now, isFiring: look === 0 });
    }
    for (const [key, span] of open) if (!firing.has(key)) ended.push(span);
    open = firing;
  }
  return [...ended, ...open.values()];
}
