import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { utf8 } from '../../runtime/crypto/bytes.ts';
import type { Attribute, Block, CtyType } from './bindings-schema.ts';
import {
  message,
  NULL,
  type Packed,
  pack,
  packText,
  readMessage,
  serveCalls,
  UNKNOWN,
  unpack,
} from './plugin-protocol.ts';

/** What the stand-in serves, by type: `azurerm_subnet`. */
export interface ProviderSchema {
  readonly provider: Block;
  readonly resources: Readonly<Record<string, Block>>;
  readonly dataSources: Readonly<Record<string, Block>>;
}

/** First version of the real provider that the stacks accept: the stand-in goes by it and is nothing of the kind. */
const VERSION = '4.81.0';
const NESTING = { single: 1, list: 2, set: 3 } as const;
/** What a data source says that nobody has set. */
const TOLD = '11111111-1111-4111-8111-111111111111';

/** Lays a provider into a folder where Terraform finds it; the variables that make Terraform look there and nowhere else. */
export function installProvider(folder: string, schema: ProviderSchema): Readonly<Record<string, string>> {
  const platform = `${process.platform}_${process.arch === 'x64' ? 'amd64' : process.arch}`;
  const home = join(folder, 'mirror', 'registry.terraform.io', 'hashicorp', 'azurerm', VERSION, platform);
  mkdirSync(home, { recursive: true });
  const [schemaFile, configFile] = [join(folder, 'schema.json'), join(folder, 'terraform.rc')];
  writeFileSync(schemaFile, JSON.stringify(schema));
  writeFileSync(
    configFile,
    `provider_installation {\n  filesystem_mirror {\n    path = ${JSON.stringify(join(folder, 'mirror'))}\n  }\n}\n`,
  );
  const program = join(home, `terraform-provider-azurerm_v${VERSION}`);
  // A shell, because Node looks at the end of a program's name and finds ".0".
  writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${import.meta.filename}' '${schemaFile}'\n`);
  chmodSync(program, 0o755);
  return { TF_CLI_CONFIG_FILE: configFile, TF_DISABLE_PLUGIN_TLS: '1', CHECKPOINT_DISABLE: '1', TF_IN_AUTOMATION: '1' };
}

/**
 * Answers of the plugin protocol 5, as far as init, validate and plan ask
 * (https://github.com/hashicorp/terraform/blob/main/docs/plugin-protocol/tfplugin5.proto).
 */
function answers(schema: ProviderSchema): Readonly<Record<string, (request: Fields) => Uint8Array>> {
  const typeIn = (blocks: Readonly<Record<string, Block>>, request: Fields) =>
    blocks[Buffer.from(request.get(1) ?? []).toString()] ?? { attributes: {}, blocks: {} };
  const filled = (value: Uint8Array | undefined, block: Block, fill: Fill) =>
    message([1, pack(fillBlock(unpack(readMessage(value ?? NULL).get(1) ?? NULL), block, fill))]);
  return {
    GetSchema: () => schemaMessage(schema),
    PrepareProviderConfig: (request) => message([1, request.get(1)]),
    ValidateResourceTypeConfig: () => message(),
    ValidateDataSourceConfig: () => message(),
    Configure: () => message(),
    Stop: () => message(),
    ReadDataSource: (request) => message([1, filled(request.get(2), typeIn(schema.dataSources, request), told)]),
    PlanResourceChange: (request) =>
      // 5: an SDK of old, of which Terraform forgives that a plan is not to the letter what was configured.
      message([1, filled(request.get(3), typeIn(schema.resources, request), () => UNKNOWN)], [5, true]),
  };
}

type Fields = ReadonlyMap<number, Uint8Array>;
type Fill = (attribute: Attribute) => Packed;

function told({ type }: Attribute): Packed {
  return type === 'string' ? packText(TOLD) : NULL;
}

/** Gives a value to what nobody has set and the provider would compute. */
function fillBlock(value: Packed, block: Block, fill: Fill): Packed {
  if (!(value instanceof Map)) return value;
  return new Map(
    [...(value as ReadonlyMap<string, Packed>)].map(([name, member]): [string, Packed] => {
      const attribute = block.attributes[name];
      if (attribute !== undefined) return [name, attribute.computed && isNull(member) ? fill(attribute) : member];
      const nested = block.blocks[name]?.block;
      if (nested === undefined) return [name, member];
      return [
        name,
        Array.isArray(member)
          ? member.map((item: Packed) => fillBlock(item, nested, fill))
          : fillBlock(member, nested, fill),
      ];
    }),
  );
}

function isNull(value: Packed): boolean {
  return value instanceof Uint8Array && value[0] === NULL[0];
}

function schemaMessage({ provider, resources, dataSources }: ProviderSchema): Uint8Array {
  const entry = ([name, block]: readonly [string, Block]) => message([1, name], [2, message([2, blockMessage(block)])]);
  return message(
    [1, message([2, blockMessage(provider)])],
    ...Object.entries(resources).map((item) => [2, entry(item)] as const),
    ...Object.entries(dataSources).map((item) => [3, entry(item)] as const),
  );
}

function blockMessage({ attributes, blocks }: Block): Uint8Array {
  return message(
    ...Object.entries(attributes).map(([name, { type, required, optional, computed }]) => {
      const json = utf8(JSON.stringify(type satisfies CtyType));
      return [2, message([1, name], [2, json], [4, required], [5, optional], [6, computed])] as const;
    }),
    ...Object.entries(blocks).map(([name, { block, nesting, required, isOne }]) => {
      const isSingle = nesting === 'single';
      const least = required && !isSingle ? 1 : 0;
      const most = isOne && !isSingle ? 1 : 0;
      return [3, message([1, name], [2, blockMessage(block)], [3, NESTING[nesting]], [4, least], [5, most])] as const;
    }),
  );
}

function serve(schemaFile: string): void {
  const known = answers(JSON.parse(readFileSync(schemaFile, 'utf8')) as ProviderSchema);
  const socket = join(tmpdir(), `ctrain-provider-${process.pid}.sock`);
  process.on('exit', () => rmSync(socket, { force: true }));
  const server = serveCalls(socket, (path, request) => {
    if (path === '/plugin.GRPCController/Shutdown') setImmediate(() => process.exit(0));
    const name = path.startsWith('/tfplugin5.Provider/') ? path.slice('/tfplugin5.Provider/'.length) : '';
    return path.startsWith('/plugin.GRPCController/') ? message() : known[name]?.(readMessage(request));
  });
  server.on('listening', () => process.stdout.write(`1|5|unix|${socket}|grpc|\n`));
}

if (process.argv[1] === import.meta.filename) serve(process.argv[2] ?? '');
