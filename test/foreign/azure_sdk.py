"""Microsoft's Azure SDK for Python against the emulator. Reads one line of JSON, what to use; writes one, what it saw.

In between it asks once for 256 bytes to be opened by the vTPM, as the private half of the transfer key is there.
"""

import base64
import hashlib
import json
import os
import sys

import requests
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.identity import ManagedIdentityCredential
from azure.keyvault.keys import KeyClient, KeyReleasePolicy
from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm
from azure.storage.blob import ContainerClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding

place = json.loads(sys.stdin.readline())
identity = ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"])

NEVER = {"claim": "secureboot", "equals": "false"}


class FixedToken:
    """A credential that always has the same token, whatever it is asked for."""

    def __init__(self, token):
        self.token = token

    def get_token(self, *scopes, **options):
        return AccessToken(self.token, 2**31)


def keys(credential=identity):
    return KeyClient(vault_url=place["vault"], credential=credential, retry_total=0)


def container(credential=identity):
    return ContainerClient(place["blobs"], place["container"], credential=credential, retry_total=0)


def release(token, algorithm="RSA_AES_KEY_WRAP_256"):
    options = {"version": place["keyVersion"], "algorithm": algorithm, "nonce": place["nonce"]}
    return keys().release_key(place["keyName"], token, **options).value


def refusal(work):
    try:
        work()
    except HttpResponseError as error:
        return {"type": type(error).__name__, "status": error.status_code, "message": error.message}
    return None


def from_base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def read_jws(value):
    """Payload of a release reply, once signature, chain and name have been checked."""
    head, body, signature = value.split(".")
    header = json.loads(from_base64url(head))
    assert header["alg"] == "RS256"
    chain = [x509.load_der_x509_certificate(base64.b64decode(der)) for der in header["x5c"]]
    for certificate, issuer in zip(chain, chain[1:]):
        certificate.verify_directly_issued_by(issuer)
    assert chain[-1].fingerprint(hashes.SHA256()).hex() in place["vaultRoots"]
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [place["vault"].removeprefix("https://")]
    signed = f"{head}.{body}".encode()
    chain[0].public_key().verify(from_base64url(signature), signed, padding.PKCS1v15(), hashes.SHA256())
    return json.loads(from_base64url(body))


def open_by_vtpm(ciphertext):
    print(json.dumps({"open": base64.b64encode(ciphertext).decode()}), flush=True)
    return base64.b64decode(sys.stdin.readline())


key = keys().get_key(place["keyName"])
content_key = os.urandom(32)
wrapped = CryptographyClient(key, identity).wrap_key(KeyWrapAlgorithm.rsa_oaep_256, content_key)

reply = read_jws(release(place["token"]))
key_hsm = json.loads(from_base64url(reply["response"]["key"]["key"]["key_hsm"]))
ciphertext = from_base64url(key_hsm["ciphertext"])
transfer_key = open_by_vtpm(ciphertext[:256])
released = serialization.load_der_private_key(
    keywrap.aes_key_unwrap_with_padding(transfer_key, ciphertext[256:]), password=None
)
oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)

policy = json.dumps({"version": "1.0.0", "anyOf": [{"authority": place["authority"], "allOf": [NEVER]}]})
owned = keys().create_rsa_key(
    "owned", size=2048, hardware_protected=True, exportable=True, release_policy=KeyReleasePolicy(policy.encode())
)
closed = refusal(lambda: keys().release_key("owned", place["token"]))  # no version: the newest
keys().update_key_properties("owned", owned.properties.version, enabled=False)
disabled = refusal(lambda: keys().release_key("owned", place["token"], version=owned.properties.version))
versions = [version.version for version in keys().list_properties_of_key_versions("owned")]

vault_token = identity.get_token("https://vault.azure.net/.default").token
storage_token = identity.get_token("https://storage.azure.com/.default").token
unauthenticated = requests.get(f"{place['vault']}/keys/{place['keyName']}?api-version=7.5", timeout=30)
head, body, signature = place["token"].split(".")
altered_signature = ("B" if signature[0] != "B" else "C") + signature[1:]
blob = next(iter(container().list_blobs()))

print(
    json.dumps(
        {
            "keyType": key.key_type,
            "keyId": key.id,
            "keyOperations": key.key_operations,
            "exportable": key.properties.exportable,
            "policy": json.loads(key.properties.release_policy.encoded_policy),
            "immutable": key.properties.release_policy.immutable,
            "wrappedWith": wrapped.key_id,
            "request": reply["request"],
            "sealedTo": key_hsm["header"],
            "opensWhatWasWrapped": released.decrypt(wrapped.encrypted_key, oaep) == content_key,
            "createdVersions": [versions == [owned.properties.version], owned.properties.exportable],
            "ownPolicyNotMet": closed,
            "disabledKey": disabled,
            "policyNotMet": refusal(lambda: release(place["otherToken"])),
            "alteredToken": refusal(lambda: release(f"{head}.{body}.{altered_signature}")),
            "unknownAlgorithm": refusal(lambda: release(place["token"], "RSA_AES_KEY_WRAP_512")),
            "noSuchKey": refusal(lambda: keys().get_key("no-such-key")),
            "challenge": [unauthenticated.status_code, unauthenticated.headers["WWW-Authenticate"]],
            "storageTokenAtVault": refusal(lambda: keys(FixedToken(storage_token)).get_key(place["keyName"])),
            "noTokenAtVault": refusal(lambda: keys(FixedToken("none")).get_key(place["keyName"])),
            "blob": {"name": blob.name, "size": blob.size},
            "blobSha256": hashlib.sha256(container().download_blob(blob.name).readall()).hexdigest(),
            "vaultTokenAtStorage": refusal(lambda: list(container(FixedToken(vault_token)).list_blobs())),
        }
    )
)
