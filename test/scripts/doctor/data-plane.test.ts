import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { reach } from '../../../scripts/doctor/data-plane.ts';

let server: Server;
let open: number;
let closed: number;

beforeAll(async () => {
  server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  const gone = createServer().listen(0, '127.0.0.1');
  await Promise.all([once(server, 'listening'), once(gone, 'listening')]);
  open = (server.address() as AddressInfo).port;
  closed = (gone.address() as AddressInfo).port;
  gone.close();
  await once(gone, 'close');
});
afterAll(() => server.close());

const to = (...addresses: string[]) => ({ resolve: async () => addresses });

test('a private address that answers is reachable', async () => {
  expect(await reach('kv.vault.azure.net', { ...to('127.0.0.1'), port: open })).toEqual({
    host: 'kv.vault.azure.net',
    addresses: ['127.0.0.1'],
    state: 'reachable',
  });
  expect(await reach('kv', { ...to('127.0.0.1'), port: closed })).toMatchObject({ state: 'private, no answer' });
});

test.each([['20.50.1.2'], ['172.32.0.1'], ['2603:1020::1'], ['8.8.8.8']])(
  '%s is a public address, and is not called',
  async (address) => {
    expect(await reach('kv', { ...to(address), port: open })).toMatchObject({ state: 'public address' });
    // One public address among private ones is a way that is not private.
    expect(await reach('kv', { ...to('127.0.0.1', address), port: open })).toMatchObject({ state: 'public address' });
  },
);

test.each([
  ['fails', async () => Promise.reject(new Error('ENOTFOUND'))],
  ['has nothing', async () => []],
])('a name whose look-up %s is none', async (_, resolve) => {
  expect(await reach('kv', { resolve })).toEqual({ host: 'kv', addresses: [], state: 'no such name' });
});
