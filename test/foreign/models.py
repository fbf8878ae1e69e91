"""Loads what ctrain open-model wrote with other people's libraries. Each command prints one line of JSON."""

import csv
import json
import os
import sys

import numpy as np


def prepared(schema, path):
    """Rows of a csv file as the model wants them: what a stranger has to do who only has the file's metadata."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    x = np.array([[float(row[column]) for column in schema["columns"]] for row in rows])
    rule = schema["normalisation"]
    if rule["kind"] == "standard":
        x = (x - np.array(rule["mean"])) / np.array(rule["deviation"])
    elif rule["kind"] == "scale":
        x = x / rule["divisor"]
    return x.astype(np.float32)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def with_numpy(model, rows):
    from safetensors import safe_open

    with safe_open(model, framework="np") as file:
        schema = json.loads(file.metadata()["preprocessing"])
        hidden = np.maximum(prepared(schema, rows) @ file.get_tensor("hidden/kernel") + file.get_tensor("hidden/bias"), 0)
        return softmax(hidden @ file.get_tensor("logits/kernel") + file.get_tensor("logits/bias")).tolist()


def with_torch(model, rows):
    import torch
    from safetensors import safe_open

    with safe_open(model, framework="pt") as file:
        schema = json.loads(file.metadata()["preprocessing"])
        t = {name: file.get_tensor(name) for name in file.keys()}
    hidden, logits = (torch.nn.Linear(*t[f"{name}/kernel"].shape) for name in ("hidden", "logits"))
    for name, layer in (("hidden", hidden), ("logits", logits)):
        layer.load_state_dict({"weight": t[f"{name}/kernel"].T, "bias": t[f"{name}/bias"]})
    net = torch.nn.Sequential(hidden, torch.nn.ReLU(), logits, torch.nn.Softmax(dim=1))
    with torch.no_grad():
        return net(torch.from_numpy(prepared(schema, rows))).tolist()


def with_keras(model, inputs):
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    with open(inputs) as file:
        x = np.array(json.load(file), dtype=np.float32)
    return keras.models.load_model(model).predict(x, verbose=0).tolist()


def events(path):
    """With the loader that TensorBoard itself reads files with; it checks the checksums."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util import tensor_util

    found = []
    for event in EventFileLoader(path).Load():
        for value in event.summary.value:
            found.append([value.tag, event.step, event.wall_time, float(tensor_util.make_ndarray(value.tensor))])
    return found


def write_weights(path, shapes):
    from safetensors.numpy import save_file

    rng = np.random.default_rng(3)
    save_file({name: rng.standard_normal(shape).astype(np.float32) for name, shape in json.loads(shapes).items()}, path)
    return {}


COMMANDS = {
    "numpy": with_numpy,
    "torch": with_torch,
    "keras": with_keras,
    "events": events,
    "write-weights": write_weights,
}
print(json.dumps(COMMANDS[sys.argv[1]](*sys.argv[2:])))
