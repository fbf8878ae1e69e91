import { createHttpHeaders, createPipelineRequest, type PipelineRequestOptions } from '@azure/core-rest-pipeline';
import type { StoragePipelineOptions } from '@azure/storage-blob';
import type { Network } from './network.ts';

type StorageHttpClient = NonNullable<StoragePipelineOptions['httpClient']>;

/** The network in the older shape (core-http) that the storage SDK still takes; requests and replies pass through unchanged. */
export function storageHttpClient(network: Network): StorageHttpClient {
  return {
    async sendRequest(request) {
      const {
        url,
        method,
        body,
        abortSignal,
        streamResponseStatusCodes,
        onUploadProgress,
        onDownloadProgress,
        timeout,
      } = request;
      const given = { body, abortSignal, streamResponseStatusCodes, onUploadProgress, onDownloadProgress, timeout };
      const options = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
      const response = await network.httpClient.sendRequest(
        createPipelineRequest({
          ...(options as Partial<PipelineRequestOptions>),
          url,
          method,
          headers: createHttpHeaders(request.headers.toJson({ preserveCase: true })),
        }),
      );
      // The only way to an object of that older class is to empty one.
      const headers = request.headers.clone();
      for (const name of headers.headerNames()) headers.remove(name);
      for (const [name, value] of response.headers) headers.set(name, value);
      // `request` itself, not what was sent: by it the SDK finds back to the operation.
      const { status, bodyAsText, readableStreamBody } = response;
      return {
        status,
        headers,
        request,
        ...(bodyAsText === undefined ? {} : { bodyAsText }),
        ...(readableStreamBody === undefined ? {} : { readableStreamBody }),
      };
    },
  };
}
