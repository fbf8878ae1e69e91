import { RestError } from '@azure/core-rest-pipeline';
import { expect, test } from 'vitest';
import {
  firstLine,
  HttpFailure,
  httpFailure,
  statusFailure,
  toServiceError,
} from '../../../runtime/azure/http-failure.ts';

test.each([
  [400, 'RELEASE_DENIED'],
  [401, 'RELEASE_DENIED'],
  [403, 'RELEASE_DENIED'],
  [404, 'CONFIG_INVALID'],
  [409, 'CONFIG_INVALID'],
  [412, 'CONFIG_INVALID'],
  [429, 'UNAVAILABLE'],
  [503, 'UNAVAILABLE'],
])('status %i becomes %s', (status, code) => {
  const error = toServiceError('release of k', statusFailure(status, 'Word', 'a reason', undefined), {
    denied: 'RELEASE_DENIED',
  });
  expect(error).toMatchObject({ code, message: `release of k: status ${status}, Word, a reason` });
});

test('no answer becomes UNAVAILABLE, and other errors stay what they are', () => {
  expect(toServiceError('ask', new HttpFailure('no answer'), { denied: 'CONFIG_INVALID' })).toMatchObject({
    code: 'UNAVAILABLE',
  });
  const bug = new TypeError('bug');
  expect(toServiceError('ask', bug, { denied: 'CONFIG_INVALID' })).toBe(bug);
});

test.each([
  ['ECONNREFUSED', true, 'no answer: ECONNREFUSED'],
  ['ETIMEDOUT', true, 'no answer: ETIMEDOUT'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', false, 'certificate refused: UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', false, 'certificate refused: ERR_TLS_CERT_ALTNAME_INVALID'],
])('%s: retryable %s', (code, retryable, message) => {
  expect(httpFailure(new RestError('x', { code }))).toMatchObject({ retryable, message, status: undefined });
});

test('an SDK error is taken over without its request, which carries the token', () => {
  const failure = httpFailure(new RestError('Key not found\nmore', { statusCode: 404, code: 'KeyNotFound' }));
  expect(failure).toMatchObject({
    status: 404,
    serviceCode: 'KeyNotFound',
    message: 'status 404, KeyNotFound, Key not found',
  });
  expect(failure?.cause).toBeUndefined();
});

test('a token that a service quotes never gets into a message', () => {
  expect(firstLine('bad token eyJhbGciOi.eyJzdWIiOi.c2ln-_A here\nsecond')).toBe('bad token (token) here');
});

test('Retry-After is seconds or a date', () => {
  expect(statusFailure(429, undefined, undefined, '7').retryAfterInMs).toBe(7000);
  expect(statusFailure(429, undefined, undefined, 'Thu, 01 Jan 1970 00:00:00 GMT').retryAfterInMs).toBe(0);
  expect(statusFailure(429, undefined, undefined, 'soon').retryAfterInMs).toBeUndefined();
});
