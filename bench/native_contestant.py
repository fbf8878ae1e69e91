"""TensorFlow or PyTorch as a contestant of bench/native.ts: for every line `mlp|convnet BATCH sgd|adam MILLISECONDS` it answers
with samples a second. The same models, batches and learning rate as bench/native-entry.ts."""

import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np

PIXELS, CLASSES, RATE, BATCHES, WARM_UP, LOSS_STEPS = 784, 10, 0.01, 16, 20, 50


def batches(rows):
    i = np.arange(rows * PIXELS)
    return [
        (
            np.maximum(0, np.sin(i * 7 + b)).astype(np.float32).reshape(rows, PIXELS),
            ((np.arange(rows) + b) % CLASSES).astype(np.int64),
        )
        for b in range(BATCHES)
    ]


def tensorflow(name, rows, optimizer):
    import tensorflow as tf

    layers = tf.keras.layers
    body = {
        "mlp": lambda: [layers.Dense(512, activation="relu")],
        "convnet": lambda: [
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(8, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
        ],
    }[name]()
    model = tf.keras.Sequential([layers.Input((PIXELS,)), *body, layers.Dense(CLASSES)])
    rule = (tf.keras.optimizers.Adam if optimizer == "adam" else tf.keras.optimizers.SGD)(RATE)
    weights = model.trainable_variables
    rule.build(weights)

    @tf.function
    def train(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x, training=True)))
        rule.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return loss

    data = [(tf.constant(x), tf.constant(y)) for x, y in batches(rows)]

    def step(index):
        loss = train(*data[index % BATCHES])
        return float(loss) if index % LOSS_STEPS == 0 else None

    return step


def pytorch(name, rows, optimizer):
    import torch
    from torch import nn

    model = {
        "mlp": lambda: nn.Sequential(nn.Linear(PIXELS, 512), nn.ReLU(), nn.Linear(512, CLASSES)),
        "convnet": lambda: nn.Sequential(
            nn.Unflatten(1, (1, 28, 28)),
            nn.Conv2d(1, 8, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(256, CLASSES),
        ),
    }[name]()
    rule = (torch.optim.Adam if optimizer == "adam" else torch.optim.SGD)(model.parameters(), RATE)
    entropy = nn.CrossEntropyLoss()
    data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches(rows)]

    def step(index):
        x, y = data[index % BATCHES]
        rule.zero_grad(set_to_none=True)
        loss = entropy(model(x), y)
        loss.backward()
        rule.step()
        return float(loss) if index % LOSS_STEPS == 0 else None

    return step


make = {"tensorflow": tensorflow, "pytorch": pytorch}[sys.argv[1]]
steps = {}
for line in sys.stdin:
    name, rows, optimizer, milliseconds = line.split()
    key = (name, rows, optimizer)
    if key not in steps:
        steps[key] = make(name, int(rows), optimizer)
        for i in range(WARM_UP):
            steps[key](i)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < int(milliseconds) / 1000:
        steps[key](count)
        count += 1
    print(count * int(rows) / (time.perf_counter() - start), flush=True)
