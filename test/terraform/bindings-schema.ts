import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** What Terraform knows about a block, as far as the bindings say it. */
export interface Block {
  readonly attributes: Readonly<Record<string, Attribute>>;
  readonly blocks: Readonly<Record<string, NestedBlock>>;
}

export interface Attribute {
  /** Type constraint in cty's JSON, for example `"string"` or `["list","string"]`. */
  readonly type: CtyType;
  readonly computed: boolean;
  readonly optional: boolean;
  readonly required: boolean;
}

interface NestedBlock {
  readonly block: Block;
  readonly nesting: 'single' | 'list' | 'set';
  /** Whether there has to be one. */
  readonly required: boolean;
  /** Whether there can be no second one. */
  readonly isOne: boolean;
}

export type CtyType = string | readonly [string, CtyType | Readonly<Record<string, CtyType>>];

const SIMPLE: Readonly<Record<string, CtyType>> = {
  string: 'string',
  boolean: 'bool',
  number: 'number',
  stringList: ['list', 'string'],
  numberList: ['list', 'number'],
  stringMap: ['map', 'string'],
};
const GETTERS: Readonly<Record<string, CtyType>> = {
  String: 'string',
  Boolean: 'bool',
  Number: 'number',
  List: ['list', 'string'],
  NumberList: ['list', 'number'],
  StringMap: ['map', 'string'],
};
const require = createRequire(import.meta.url);

/**
 * The schema of one resource, data source (`data-…`) or of `provider`, read from the TypeScript that cdktf generated from
 * the provider's own (it lies in the bindings' source maps): what every attribute is stands in a comment above it, and
 * what is a block in what it writes as HCL.
 */
export function bindingsSchema(folder: string): Block {
  const compiled = readFileSync(require.resolve(`@cdktf/provider-azurerm/lib/${folder}/index.js`), 'utf8');
  const map = /sourceMappingURL=data:application\/json;base64,(\S+)/.exec(compiled)?.[1] ?? '';
  const { sourcesContent } = JSON.parse(Buffer.from(map, 'base64').toString()) as { sourcesContent: readonly string[] };
  const source = new Source(sourcesContent[0] ?? '');
  const name = /^export class (\w+) extends cdktf\.Terraform(?:Resource|DataSource|Provider) /m.exec(source.text)?.[1];
  if (name === undefined) throw new Error(`${folder}: no resource in the bindings' source`);
  return source.block(name, name);
}

/** What is written about one attribute in one class. */
interface Note {
  readonly computed: boolean;
  readonly optional: boolean;
  readonly required: boolean;
  /** Name of the struct, where it is one. */
  readonly struct: string | undefined;
  readonly isOne: boolean;
  readonly type: CtyType;
}

/** How an argument is written as HCL. */
interface Written {
  readonly isBlock: boolean;
  readonly type: string;
  readonly storage: string;
}

class Source {
  readonly text: string;
  readonly #parts = new Map<string, string>();

  constructor(text: string) {
    this.text = text;
    for (const part of text.split(/^(?=export )/m)) {
      const name = /^export (?:class|function) (\w+)/.exec(part)?.[1];
      if (name !== undefined) this.#parts.set(name, part);
    }
  }

  /** @param owner class that has the attributes: the resource itself, or the reference to a struct */
  block(struct: string, owner: string): Block {
    const notes = this.#notes(owner);
    const written = this.#written(struct, owner);
    const attributes: Record<string, Attribute> = {};
    const blocks: Record<string, NestedBlock> = {};
    for (const name of new Set([...written.keys(), ...notes.keys()])) {
      const argument = written.get(name);
      // The provider's own features have no class, and so no notes.
      const note = notes.get(name) ?? NO_NOTE;
      const nested = note.struct ?? structOf(argument);
      if (nested === undefined) {
        attributes[name] = { ...note, type: argument === undefined ? note.type : typeOf(argument) };
      } else if (argument?.isBlock === true) {
        const nesting = argument.type === 'struct' ? 'single' : argument.type === 'set' ? 'set' : 'list';
        const block = this.block(nested, `${nested}OutputReference`);
        blocks[name] = { block, nesting, required: note.required, isOne: note.isOne };
      } else {
        const members = this.#objectType(nested);
        attributes[name] = { ...note, type: [argument?.type === 'set' ? 'set' : 'list', ['object', members]] };
      }
    }
    return { attributes, blocks };
  }

  #objectType(struct: string): Readonly<Record<string, CtyType>> {
    const { attributes } = this.block(struct, `${struct}OutputReference`);
    return Object.fromEntries(Object.entries(attributes).map(([name, { type }]) => [name, type]));
  }

  #notes(owner: string): ReadonlyMap<string, Note> {
    const text = this.#parts.get(owner) ?? '';
    const found = text.split(/^ {2}\/\/ (?=\w+ - computed: )/m).slice(1);
    return new Map(
      found.map((part) => {
        const [, name = '', computed, optional, required] =
          /^(\w+) - computed: (\w+), optional: (\w+), required: (\w+)/.exec(part) ?? [];
        const [, struct, kind] = /= new (\w+?)(List|OutputReference)\(this, "/.exec(part) ?? [];
        const getter =
          /\.get(\w+)Attribute\('/.exec(part)?.[1] ?? (part.includes('cdktf.StringMap(') ? 'StringMap' : '');
        const type = GETTERS[getter] ?? 'string';
        const note = {
          computed: computed === 'true',
          optional: optional === 'true',
          required: required === 'true',
          struct,
          isOne: kind === 'OutputReference',
          type: part.includes('Fn.tolist(') && Array.isArray(type) ? (['set', type[1]] as const) : type,
        };
        return [name, note];
      }),
    );
  }

  #written(struct: string, owner: string): ReadonlyMap<string, Written> {
    const writer = `${struct.charAt(0).toLowerCase()}${struct.slice(1)}ToHclTerraform`;
    const text = this.#parts.get(struct === owner ? owner : writer) ?? '';
    const entries = text.matchAll(
      /^ +(\w+): \{\n.*\n +isBlock: (true|false),\n +type: "(\w+)",\n +storageClassType: "(\w+)",/gm,
    );
    return new Map(
      [...entries].map(([, name = '', isBlock, type = '', storage = '']) => [
        name,
        { isBlock: isBlock === 'true', type, storage },
      ]),
    );
  }
}

const NO_NOTE: Note = {
  computed: false,
  optional: true,
  required: false,
  struct: undefined,
  isOne: false,
  type: 'string',
};

function typeOf({ type, storage }: Written): CtyType {
  const simple = SIMPLE[storage] ?? 'string';
  return type === 'set' && Array.isArray(simple) ? ['set', simple[1]] : simple;
}

/** `FooBarList` and `FooBar` are structs, `stringList` is none. */
function structOf(argument: Written | undefined): string | undefined {
  if (argument === undefined || argument.storage in SIMPLE) return undefined;
  return argument.type === 'struct' ? argument.storage : argument.storage.replace(/List$/, '');
}
