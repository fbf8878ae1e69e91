import { SMALL } from './cli-process.ts';
import { flowers } from './place.ts';

/** Rows without a mistake. */
export const GOOD = flowers(40);
const TRAIN = ['train', '--data', 'data.csv', '--yes'];
const PROPOSE = ['propose', '--dataset', 'me/data/1'];

/** One line of the good rows (counted from 1, the header) replaced. */
function withLine(line: number, change: (text: string) => string): string {
  return GOOD.split('\n')
    .map((text, i) => (i === line - 1 ? change(text) : text))
    .join('\n');
}

/** A training.json with these members changed. */
export function configuration(training: object): string {
  return JSON.stringify({ training: { ...SMALL, ...training } });
}

/** One thing wrong in an otherwise good folder. */
export interface Mistake {
  readonly name: string;
  readonly args: readonly string[];
  /** Files beside the good ones, or instead of them; `null`: without it. */
  readonly files?: Readonly<Record<string, string | null>>;
  /** The whole message, or what it must match. */
  readonly says: string | RegExp;
}

export const MISTAKES: readonly Mistake[] = [
  { name: 'missing file', args: ['train', '--data', 'no.csv', '--yes'], says: 'no file or folder at no.csv' },
  { name: 'empty file', args: TRAIN, files: { 'data.csv': '' }, says: 'data.csv: it is empty' },
  {
    name: 'header without rows',
    args: TRAIN,
    files: { 'data.csv': 'a,b,label\n' },
    says: /^data\.csv, column label: found 0 class/,
  },
  {
    name: 'wrong column count',
    args: TRAIN,
    files: { 'data.csv': withLine(17, (text) => `${text},9`) },
    says: 'data.csv line 17: found 10 columns, wanted 9',
  },
  {
    name: 'non-numeric cell',
    args: TRAIN,
    files: { 'data.csv': withLine(5, (text) => text.replace(/^[^,]*/, 'secret')) },
    says: 'data.csv line 5, column a: found something else, wanted a number',
  },
  {
    name: 'empty cell',
    args: TRAIN,
    files: { 'data.csv': withLine(41, (text) => text.replace(/,[^,]*,/, ',,')) },
    says: 'data.csv line 41, column b: found an empty cell, wanted a number',
  },
  {
    name: 'no label column',
    args: TRAIN,
    files: { 'data.csv': withLine(1, (text) => text.replace('label', 'kind')) },
    says: /^data\.csv: no column is called label, target, y or class; columns: a, b, .*, kind; name it with --label$/,
  },
  {
    name: 'unknown label column',
    args: [...TRAIN, '--label', 'kind'],
    says: /^data\.csv: no column is called kind; columns: a, /,
  },
  {
    name: 'label outside the range',
    args: ['prepare-data', '-i', 'data.csv', '--classes', '3'],
    files: { 'data.csv': withLine(9, (text) => text.replace(/\d$/, '7')) },
    says: 'data.csv line 9, column label: found a label outside 0 to 2',
  },
  {
    name: 'no header, prepared by itself',
    args: ['prepare-data', '-i', 'data.csv'],
    files: { 'data.csv': '1,2,3\n4,5,6\n' },
    says: 'data.csv: line 1 holds numbers, wanted column names, one of them label, target, y or class',
  },
  { name: 'unknown data type', args: [...TRAIN, '-t', 'cvs'], says: /^unknown data type 'cvs', did you mean csv\?/ },
  {
    name: 'output in a file',
    args: ['prepare-data', '-i', 'data.csv', '-o', 'data.csv/x'],
    says: /^ENOTDIR: not a directory/,
  },
  { name: 'unknown flag', args: ['train', '--dta', 'data.csv'], says: "unknown option '--dta', did you mean --data?" },
  { name: 'flag without a value', args: ['train', '--data'], says: "option '-i, --data <path>' argument missing" },
  { name: 'missing flag', args: ['prepare-data'], says: "required option '-i, --input-path <path>' not specified" },
  { name: 'missing argument', args: ['verify'], says: "missing required argument 'folder'" },
  { name: 'unknown command', args: ['trian'], says: "unknown command 'trian', did you mean train?" },
  { name: 'neither data nor agreement', args: ['train'], says: 'train wants either --data FILE or --agreement FILE' },
  {
    name: 'both data and agreement',
    args: [...TRAIN, '--agreement', 'x'],
    says: 'train wants either --data FILE or --agreement FILE',
  },
  {
    name: 'missing agreement',
    args: ['train', '--agreement', 'no.json'],
    says: "no agreement at no.json: 'ctrain propose' writes one",
  },
  {
    name: 'unknown key in the configuration',
    args: TRAIN,
    files: { 'training.json': configuration({ epoch: 3 }) },
    says: 'training.json: training.epoch: unknown key, did you mean training.epochs?',
  },
  {
    name: 'zero and negative sizes, told together',
    args: TRAIN,
    files: { 'training.json': configuration({ hidden_size: 0, batch_size: -32 }) },
    says: /^training\.json: training\.hidden_size: found 0, wanted a whole number from 1 to \d+; training\.batch_size: found -32, /,
  },
  {
    name: 'half an epoch',
    args: PROPOSE,
    files: { 'training.json': configuration({ epochs: 1.5 }) },
    says: /training\.epochs: found 1\.5, wanted a whole/,
  },
  {
    name: 'sizes that do not fit the rows',
    args: TRAIN,
    files: { 'training.json': configuration({ input_size: 784 }) },
    says: 'training.input_size: found 784, the dataset has 8 features',
  },
  {
    name: 'configuration that is no JSON',
    args: TRAIN,
    files: { 'training.json': '{"training":' },
    says: /^training\.json: not JSON: /,
  },
  {
    name: 'no configuration',
    args: PROPOSE,
    files: { 'training.json': null },
    says: "no configuration at training.json: 'ctrain init' writes one",
  },
  {
    name: 'runs that are none',
    args: [...PROPOSE, '--max-runs', '0'],
    says: '--max-runs: found 0, wanted a whole number above 0',
  },
  {
    name: 'days that are none',
    args: [...PROPOSE, '--days=-1'],
    says: '--days: found -1, wanted a whole number above 0',
  },
  {
    name: 'missing key file',
    args: TRAIN,
    files: { 'ctrain-key.json': null },
    says: "no key file at ctrain-key.json: make one with 'ctrain init', or name one with --owner-key",
  },
  {
    name: 'key file that is none',
    args: [...TRAIN, '--owner-key', 'training.json'],
    says: "training.json is not a key file that 'ctrain init' wrote",
  },
  {
    name: 'deployment file that is none',
    args: [...TRAIN, '--deployment', 'training.json'],
    says: 'training.json is not a deployment file: wanted version 1, kind azure or emulator',
  },
  { name: 'missing deployment file', args: ['runs', '-d', 'no.json'], says: 'there is no deployment file at no.json' },
  {
    name: 'key file that is there',
    args: ['init'],
    says: 'ctrain-key.json exists: a key file is never overwritten, remove it yourself',
  },
  { name: 'nothing to seal', args: ['encrypt-data', '-i', 'processed'], says: 'no file or folder at processed' },
  {
    name: 'rows sealed before they were prepared',
    args: ['encrypt-data', '-i', 'data.csv'],
    says: /^dataset\.json is missing: run 'ctrain prepare-data' first/,
  },
  {
    name: 'nothing to upload',
    args: ['upload'],
    says: "encrypted/manifest.dsse.json is missing: run 'ctrain encrypt-data' first",
  },
  { name: 'a path for a run', args: ['open-model', '../x'], says: /^run id '\.\.\/x': wanted up to 63 of a-z/ },
  {
    name: 'nothing to verify',
    args: ['verify', 'no'],
    says: /^no model\/model\.json in no: 'ctrain open-model' leaves such a folder/,
  },
];
