"""Client-side encryption of Microsoft's Azure SDK for Python, asked line by line.

The first line says where blobs are and which key to use; every other is a request, and gets a line for an answer.
"""

import hashlib
import json
import os
import sys

from azure.identity import ManagedIdentityCredential
from azure.storage.blob import ContainerClient
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

MISORDERED = "AZURE_STORAGE_CSE_V2_ALLOW_MISORDERED_AUTH_REGIONS"
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class LocalKey:
    def __init__(self, kid, pem):
        self.kid = kid
        self.private = serialization.load_pem_private_key(pem.encode(), password=None)

    def get_kid(self):
        return self.kid

    def get_key_wrap_algorithm(self):
        return "RSA-OAEP-256"

    def wrap_key(self, key):
        return self.private.public_key().encrypt(key, OAEP)

    def unwrap_key(self, key, algorithm):
        assert algorithm == "RSA-OAEP-256"
        return self.private.decrypt(key, OAEP)


place = json.loads(sys.stdin.readline())
key = LocalKey(place["keyId"], place["pem"])
identity = ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"])


def client(blob, required=True):
    container = ContainerClient(place["blobs"], place["container"], credential=identity, retry_total=0)
    encrypted = container.get_blob_client(blob)
    encrypted.require_encryption = required
    encrypted.encryption_version = "2.0"
    encrypted.key_encryption_key = key
    return encrypted


def write(blob, path):
    with open(path, "rb") as data:
        client(blob).upload_blob(data, overwrite=True)
    return {}


def read(blob, offset=None, length=None, required=True, misordered=False):
    os.environ[MISORDERED] = "true" if misordered else "false"
    data = client(blob, required).download_blob(offset=offset, length=length).readall()
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


for line in sys.stdin:
    request = json.loads(line)
    work = {"read": read, "write": write}[request.pop("do")]
    try:
        answer = work(**request)
    except Exception as error:  # whatever the SDK refuses with is what is asked about
        answer = {"refused": type(error).__name__}
    print(json.dumps(answer), flush=True)
