"""Counting checks, each of which says what it compared."""
import traceback


class Wrong(Exception):
    """A check found what should not be."""


def expect(condition, message):
    if not condition:
        raise Wrong(message)


class Report:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, function, *arguments):
        """Passes if the function returns, with what it compared; an exception is a failure."""
        try:
            print(f"ok      {name}: {function(*arguments)}", flush=True)
            self.passed += 1
        except Wrong as wrong:
            print(f"FAILED  {name}: {wrong}", flush=True)
            self.failed += 1
        except Exception:  # a reader that breaks down has not read the file
            print(f"FAILED  {name}: {traceback.format_exc()}", flush=True)
            self.failed += 1

    def get(self, name, function, *arguments):
        """What the function returns; None if it failed, which counts as a failed check."""
        try:
            return function(*arguments)
        except Exception:
            print(f"FAILED  {name}: {traceback.format_exc()}", flush=True)
            self.failed += 1
            return None

    def must_fail(self, name, function, *arguments):
        """Passes if the function notices what was made wrong."""
        try:
            message = function(*arguments)
        except Wrong as wrong:
            print(f"ok      {name} is noticed: {wrong}", flush=True)
            self.passed += 1
        except Exception:  # nothing was noticed, something broke
            print(f"FAILED  {name}: {traceback.format_exc()}", flush=True)
            self.failed += 1
        else:
            print(f"FAILED  {name} is not noticed: {message}", flush=True)
            self.failed += 1

    def close(self, name):
        """The closing line; returns the exit status."""
        print(f"{name}: {self.passed} passed, {self.failed} failed", flush=True)
        return int(self.failed > 0 or self.passed == 0)
