"""Triton's own Python client against `trident serve`: tritonclient_test.py TRIDENT MODEL_DIRECTORY.

The model has 4 channels, 32 x 32 points, and is conditioned on time."""
import contextlib
import os
import queue
import re
import subprocess
import sys
import tempfile
import unittest

import grpc
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

PROGRAM, MODEL = sys.argv[1], os.path.abspath(sys.argv[2])


@contextlib.contextmanager
def served():
    """The address of a server with the model as `tiny`; it must end with 0 after SIGTERM."""
    with tempfile.TemporaryDirectory() as repository:
        os.symlink(MODEL, os.path.join(repository, "tiny"))
        command = [PROGRAM, "serve", "--model-repository", repository, "--grpc-address", "127.0.0.1:0", "--threads", "1"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            line = process.stderr.readline()
            yield re.search(r"ready at ([^ ,]+)", line).group(1)
        finally:
            process.terminate()
            rest = process.stderr.read()
            if process.wait(60) != 0:
                raise RuntimeError(f"the server ended with {process.returncode}: {rest}")


def inputs(x, time=0.5, mask=None):
    kind = {"float32": "FP32", "float64": "FP64"}[x.dtype.name]
    tensors = [triton.InferInput("input", x.shape, kind), triton.InferInput("time", [x.shape[0], 1], "FP32")]
    tensors[0].set_data_from_numpy(x)
    tensors[1].set_data_from_numpy(np.full((x.shape[0], 1), time, np.float32))
    if mask is not None:
        tensors.append(triton.InferInput("pixel_mask", mask.shape, "BOOL"))
        tensors[2].set_data_from_numpy(mask)
    return tensors


class TritonClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = served()
        cls.address = cls.server.__enter__()
        cls.client = triton.InferenceServerClient(cls.address)
        cls.x = np.random.default_rng(0).standard_normal((2, 4, 32, 32)).astype(np.float32)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.__exit__(None, None, None)

    def infer(self, tensors, **options):
        return self.client.infer("tiny", tensors, **options)

    def refused(self, code, tensors, **options):
        with self.assertRaises(InferenceServerException) as caught:
            self.infer(tensors, **options)
        self.assertEqual(caught.exception.status(), f"StatusCode.{code}")
        return caught.exception.message()

    def test_describes_itself(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready("tiny"))
        self.assertFalse(self.client.is_model_ready("huge"))
        self.assertEqual(self.client.get_server_metadata().name, "trident")
        metadata = self.client.get_model_metadata("tiny")
        self.assertEqual([tensor.name for tensor in metadata.inputs], ["input", "time", "pixel_mask"])
        self.assertEqual(list(metadata.inputs[0].shape), [-1, 4, -1, -1])
        config = self.client.get_model_config("tiny").config
        self.assertGreater(config.max_batch_size, 0)
        self.assertEqual(list(config.input[0].dims), [4, -1, -1])
        self.assertFalse(config.model_transaction_policy.decoupled)
        index = self.client.get_model_repository_index()
        self.assertEqual([(model.name, model.state) for model in index.models], [("tiny", "READY")])

    def test_answers(self):
        result = self.infer(inputs(self.x), request_id="17", outputs=[triton.InferRequestedOutput("output")])
        output = result.as_numpy("output")
        self.assertEqual((output.shape, output.dtype), ((2, 4, 32, 32), np.float32))
        self.assertTrue(np.isfinite(output).all())
        self.assertEqual(result.get_response().id, "17")
        alone = self.infer(inputs(self.x[:1])).as_numpy("output")
        np.testing.assert_allclose(alone, output[:1], rtol=1e-4, atol=1e-5)

    def test_answers_f64_with_f64(self):
        output = self.infer(inputs(self.x.astype(np.float64))).as_numpy("output")
        self.assertEqual(output.dtype, np.float64)
        np.testing.assert_array_equal(output.astype(np.float32), self.infer(inputs(self.x)).as_numpy("output"))

    def test_rolls_out(self):
        answer = self.infer(inputs(self.x), parameters={"steps": 3}).as_numpy("output")
        self.assertEqual(answer.shape, (2, 3, 4, 32, 32))
        # Each of the steps advances a third of the time.
        first = self.infer(inputs(self.x, time=0.5 / 3)).as_numpy("output")
        np.testing.assert_allclose(answer[:, 0], first, rtol=1e-4, atol=1e-5)
        second = self.infer(inputs(first, time=0.5 / 3)).as_numpy("output")
        np.testing.assert_allclose(answer[:, 1], second, rtol=1e-3, atol=1e-4)

    def test_takes_problems_and_masks(self):
        physical = self.infer(inputs(self.x, time=10), parameters={"problem": "NS-Sines"}).as_numpy("output")
        self.assertEqual(physical.shape, self.x.shape)
        mask = np.array([[True, False, False, False], [False, False, False, True]])
        masked = self.infer(inputs(self.x, mask=mask)).as_numpy("output")
        np.testing.assert_array_equal(masked[mask], self.x[mask])

    def test_answers_asynchronous_calls(self):
        answers = queue.Queue()
        for _ in range(4):
            self.client.async_infer("tiny", inputs(self.x), lambda result, error: answers.put((result, error)))
        for _ in range(4):
            result, error = answers.get(timeout=60)
            self.assertIsNone(error)
            self.assertEqual(result.as_numpy("output").shape, self.x.shape)

    def test_refuses_what_is_wrong(self):
        self.assertIn("steps", self.refused("INVALID_ARGUMENT", inputs(self.x), parameters={"step": 1}))
        self.refused("INVALID_ARGUMENT", inputs(self.x), parameters={"steps": 0})
        self.refused("INVALID_ARGUMENT", inputs(self.x), parameters={"steps": "3"})
        self.refused("INVALID_ARGUMENT", inputs(self.x), parameters={"problem": "weather"})
        self.refused("INVALID_ARGUMENT", inputs(self.x)[:1])
        self.refused("INVALID_ARGUMENT", inputs(self.x[:, :3]))
        self.refused("INVALID_ARGUMENT", inputs(np.where(self.x > 2, np.nan, self.x)))
        self.refused("INVALID_ARGUMENT", inputs(self.x), model_version="newest")
        self.refused("INVALID_ARGUMENT", inputs(self.x), outputs=[triton.InferRequestedOutput("hidden")])
        self.refused("UNIMPLEMENTED", inputs(self.x), outputs=[triton.InferRequestedOutput("output", class_count=3)])
        self.refused("NOT_FOUND", inputs(self.x), model_version="7")
        with self.assertRaises(InferenceServerException) as caught:
            self.client.infer("huge", inputs(self.x))
        self.assertEqual(caught.exception.status(), "StatusCode.NOT_FOUND")
        with self.assertRaises(InferenceServerException) as caught:
            self.client.load_model("tiny")
        self.assertEqual(caught.exception.status(), "StatusCode.UNIMPLEMENTED")
        self.refused("DEADLINE_EXCEEDED", inputs(self.x), parameters={"steps": 2000}, client_timeout=0.2)
        self.infer(inputs(self.x), priority=1, sequence_id=5, sequence_start=True, timeout=10_000_000)

    def test_counts(self):
        before = self.client.get_inference_statistics("tiny").model_stats[0]
        self.infer(inputs(self.x))
        after = self.client.get_inference_statistics("tiny").model_stats[0]
        self.assertEqual(after.inference_count - before.inference_count, 2)
        self.assertEqual(after.execution_count - before.execution_count, 1)
        self.assertGreater(after.inference_stats.compute_infer.ns, before.inference_stats.compute_infer.ns)

    def test_reports_health(self):
        with grpc.insecure_channel(self.address) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            self.assertEqual(check(b""), b"\x08\x01")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
