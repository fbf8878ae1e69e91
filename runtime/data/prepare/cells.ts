/** A value of a table before it is checked; an empty string where there is none. Numbers come from formats that have them. */
export type Cell = string | number;

/** The number that a cell holds in decimal notation, or NaN: `Number('')` is 0 and `Number('0x10')` is 16, so they are looked at first. */
export function cellNumber(cell: string): number {
  if (cell.length > 0 && cell.length <= 3) {
    let value = 0;
    for (let i = 0; i < cell.length; i++) {
      const digit = cell.charCodeAt(i) - 48;
      if (digit < 0 || digit > 9) return slowNumber(cell);
      value = 10 * value + digit;
    }
    return value;
  }
  return slowNumber(cell);
}

/** Without blanks around it: `trim` on every cell costs more than all the rest. */
export function trimmed(cell: string): string {
  return cell.charCodeAt(0) > 32 && cell.charCodeAt(cell.length - 1) > 32 ? cell : cell.trim();
}

/** Quotes a cell only where RFC 4180 asks for it. */
export function csvCell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function slowNumber(cell: string): number {
  return /^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*$/.test(cell) ? Number(cell) : Number.NaN;
}
