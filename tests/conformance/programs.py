"""The programs that are tested."""
import json
import os
import subprocess

from reader import read_file
from report import expect

NO_LIMIT = 1 << 53


class Programs:
    """What was built, and a directory to work in."""

    def __init__(self, build, work):
        self.awqc = os.path.join(build, "bin", "awqc")
        self.dump_weights = os.path.join(build, "tests", "conformance", "dump_weights")
        self.plugins = os.path.join(build, "lib", "awq")
        self.work = work
        self.count = 0

    def path(self):
        """A new one."""
        self.count += 1
        return os.path.join(self.work, str(self.count))

    def run(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        expect(done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def quantize(self, source, output_format, method, options):
        """The directory of the result. `options` has shard_size, rules and what is of `quantize`."""
        quantize = {"method": method, **options}
        recipe = {"model": source, "output": self.path(), "format": output_format,
                  "shard_size": quantize.pop("shard_size", NO_LIMIT),
                  "rules": quantize.pop("rules", []), "quantize": quantize}
        if method == "awq":
            recipe["calibration"] = {"data": [os.path.join(source, "calib.jsonl")], "samples": 4,
                                     "sequence_length": 128}
            quantize["ratio_steps"] = 8
        with open(recipe["output"] + ".yaml", "w", encoding="utf-8") as file:
            json.dump(recipe, file)  # JSON is YAML
        self.run(self.awqc, "quantize", file.name, "--quiet", "--plugin-path", self.plugins)
        return recipe["output"]

    def weights(self, directory):
        """{module: F32} as libawq has them."""
        path = self.path()
        self.run(self.dump_weights, directory, path, self.plugins)
        return {name: tensor.array for name, tensor in read_file(path).items()}

    def perplexity(self, directory, text):
        printed = self.run(self.awqc, "eval", directory, "--text", text, "--windows", "4", "--json",
                           "--quiet", "--plugin-path", self.plugins)
        return json.loads(printed)["perplexity"]
