"""Models, recipes, runs of awqc, and what they leave."""
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

# What a run may leave in a directory that is no part of a result.
BOOKKEEPING = re.compile(r"(\.awq-.*|awq_journal\.json)$")
SUFFIXES = ("", ".partial", ".replaced")

AWQ = {"method": "awq", "ratio_steps": 4}
ROUND = {"method": "rtn"}
# name: (family, --scale of make_model, the recipe without model, output and data)
RECIPES = {
    "awq": ("mixtral-8x7b", 64, {"format": "awq", "quantize": AWQ}),
    "shards": ("mixtral-8x7b", 32, {"format": "awq", "shard_size": "1MB", "quantize": AWQ}),
    "compressed-tensors": ("qwen3-30b-a3b", 32, {"format": "compressed-tensors", "quantize": AWQ}),
    "rounding": ("mixtral-8x7b", 64, {"format": "awq", "quantize": {**AWQ, "rounding": "gptq"}}),
    "gptq": ("mixtral-8x7b", 64, {"format": "gptq", "quantize": {"method": "gptq"}}),
    "bitsandbytes": ("mixtral-8x7b", 64, {"quantize": {**AWQ, "preset": "nf4"}}),
    "target": ("mixtral-8x7b", 64,
               {"format": "compressed-tensors", "quantize": {**AWQ, "target_bits": 5}}),
    "mxfp4": ("gpt-oss-20b", 64, {"format": "mxfp4", "quantize": {"method": "awq"}}),
    "nearest": ("mixtral-8x7b", 64, {"format": "awq", "quantize": ROUND}),
}


class Bad(Exception):
    """A promise was broken."""


def expect(condition, message):
    if not condition:
        raise Bad(message)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def contents(directory):
    """{path: hash} of all files in a directory; None where there is none."""
    if not os.path.lexists(directory):
        return None
    files = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)
            data = os.readlink(path).encode() if os.path.islink(path) else read(path)
            files[os.path.relpath(path, directory)] = hashlib.blake2b(data).hexdigest()
    return files


def without_bookkeeping(files):
    return files and {name: value for name, value in files.items() if not BOOKKEEPING.match(name)}


def difference(found, expected):
    """The names in which two contents differ."""
    found, expected = found or {}, expected or {}
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))


class Done:
    """A process that has ended: its exit code, minus the signal if one has killed it."""

    def __init__(self, code, text):
        self.code, self.text = code, text

    def error(self):
        lines = [line for line in self.text.splitlines() if line.startswith("awqc: error:")]
        return lines[-1] if lines else self.text[-300:].strip()

    def told(self):
        """Whether it ended by itself, and said why where it failed."""
        return self.code == 0 or (self.code in (1, 2) and "awqc: error: " in self.text)


class Tools:
    """What was built."""

    def __init__(self, build, data, timeout):
        self.awqc = os.path.join(build, "bin", "awqc")
        self.make_model = os.path.join(build, "tests", "bench", "make_model")
        tools = os.path.join(build, "tests", "campaign")
        self.powercut = os.path.join(tools, "powercut")
        self.preload = {name: os.path.join(tools, f"preload_{name}.so")
                        for name in ("files", "memory")}
        self.data, self.timeout = data, timeout
        self.environment = {**os.environ, "AWQ_PLUGIN_PATH": os.path.join(build, "lib", "awq"),
                            "OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1",
                            # The libraries that watch come before AddressSanitizer's.
                            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "detect_leaks=1") +
                                            ":verify_asan_link_order=0"}

    def call(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        expect(done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def verifies(self):
        """Whether awqc has a verify."""
        return subprocess.run([self.awqc, "verify", "--help"], capture_output=True,
                              check=False).returncode == 0


class Site:
    """One recipe with its model, the result of a run without disturbance, and an older result."""

    def __init__(self, tools, name, directory):
        family, scale, self.recipe = RECIPES[name]
        self.tools, self.name, self.directory = tools, name, directory
        self.model = os.path.join(directory, f"{family}-{scale}")
        self.texts = os.path.join(directory, "eval.txt")
        if not os.path.exists(self.model):
            self._make_model(family, scale)
        self.result = os.path.join(directory, name + ".result")
        self.old = os.path.join(directory, name + ".old")
        self._first_run(self.result, [])
        self.files = contents(self.result)
        self._first_run(self.old, ["--set", "calibration.sequence_length=48"])

    def _make_model(self, family, scale):
        self.tools.call(self.tools.make_model, family, self.model, "--scale", str(scale),
                        "--layers", "3", "--tokens", "1024")
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            shutil.copy(os.path.join(self.tools.data, "mixtral-tiny", name), self.model)
        shutil.copy(os.path.join(self.tools.data, "mixtral-tiny", "eval.txt"), self.texts)

    def _first_run(self, kept, options):
        event = Event(self, kept + ".run")
        begin = time.monotonic()
        done = event.quantize(*options)
        self.seconds = time.monotonic() - begin
        expect(done.code == 0, f"{self.name}: {done.text}")
        os.rename(event.output, kept)
        shutil.rmtree(event.directory)

    def write_recipe(self, path, model, output):
        recipe = {"model": model, "output": output, **self.recipe,
                  "calibration": {"data": os.path.join(model, "calib_ids.safetensors"),
                                  "samples": 2, "sequence_length": 64},
                  "evaluation": {"data": self.texts, "windows": 1, "sequence_length": 32}}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(recipe, file, indent=1)  # JSON is YAML


class Event:
    """A directory in which a run of a site is disturbed: the recipe, and ./disk for its output."""

    def __init__(self, site, directory, own_model=False):
        self.site, self.tools, self.directory = site, site.tools, directory
        self.disk = os.path.join(directory, "disk")
        self.output = os.path.join(self.disk, "out")
        self.recipe = os.path.join(directory, "recipe.yaml")
        self.log = os.path.join(directory, "operations")
        self.model = os.path.join(directory, "m") if own_model else site.model
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(self.disk)
        if own_model:
            shutil.copytree(site.model, self.model)
        self.options, self.force = [], False
        self.site.write_recipe(self.recipe, self.model, self.output)

    def begin_with_old(self):
        shutil.copytree(self.site.old, self.output)
        self.options, self.force = ["--force"], True

    # ---- running ----

    def start(self, *options, environment=None, preload=None, setup=None):
        command = [self.tools.awqc, "quantize", self.recipe, "--quiet", *self.options, *options]
        variables = {**self.tools.environment, **(environment or {})}
        if preload:
            variables["LD_PRELOAD"] = self.tools.preload[preload]
        with open(os.path.join(self.directory, "text"), "w", encoding="utf-8") as text:
            return subprocess.Popen(command, stdout=text, stderr=text, stdin=subprocess.DEVNULL,
                                    env=variables, preexec_fn=setup, cwd=self.directory)

    def finish(self, process):
        try:
            code = process.wait(self.tools.timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Bad(f"hangs: still there after {self.tools.timeout} s") from None
        text = read(os.path.join(self.directory, "text"))
        return Done(code, text.decode("utf-8", "replace"))

    def quantize(self, *options, **more):
        return self.finish(self.start(*options, **more))

    def watched(self, *options, log=None, **variables):
        """With file operations counted, and logged, ended or failing as preload_files.c says."""
        environment = {f"FILES_{key.upper()}": str(value) for key, value in variables.items()}
        environment["FILES_ROOT"] = self.disk
        if log:
            environment["FILES_LOG"] = log
        return self.quantize(*options, environment=environment, preload="files")

    def count_operations(self):
        """How many file operations the run has, which is done for it."""
        self.watched("--threads", "1", log=self.log)
        words = re.findall(rb"(?m)^(?:create|mkdir|remove|rename|exchange|size|write|sync) ",
                           _without_data(read(self.log)))
        return len(words)

    # ---- checks ----

    def check_state(self):
        """What must hold at any time: a result is whole or not there, and an old one is not lost."""
        whole = [self.site.files]
        if self.force:
            whole.append(contents(self.site.old))
        found = [without_bookkeeping(contents(self.output + suffix)) for suffix in SUFFIXES]
        if found[0] is not None:
            expect(found[0] in whole, f"the output is not whole: {difference(found[0], whole[0])}")
        if self.force:
            expect(any(files in whole for files in found), "neither the old nor the new result")

    def go_on(self, *options):
        """A run that nothing disturbs comes to the right result, and leaves nothing else."""
        was_there = without_bookkeeping(contents(self.output)) == self.site.files
        done = self.quantize(*options)
        expect(done.code == 0 or (done.code == 1 and was_there),
               f"the run that goes on ends with {done.code}: {done.error()}")
        files = contents(self.output)
        expect(files == self.site.files,
               f"another result, in {difference(files, self.site.files)}")
        for suffix in SUFFIXES[1:]:
            expect(not os.path.lexists(self.output + suffix), f"out{suffix} is still there")

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


def _without_data(log):
    """The lines of a log without the bytes that were written."""
    lines, at = [], 0
    while at < len(log):
        end = log.index(b"\n", at)
        line = log[at:end]
        lines.append(line)
        at = end + 1
        if line.startswith(b"write "):
            at += int(line.split(b" ", 3)[2])
    return b"\n".join(lines)


def killed(done):
    return done.code == -signal.SIGKILL
