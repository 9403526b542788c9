"""The parts of the campaign: what is done to a run, and what must hold after it.

A part is a function that lists its events, about `count` of them, as (site, details), and one that
lets an event happen in its directory and raises Bad where a promise is broken."""
import errno
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import time
from typing import Callable, NamedTuple

from damage import damage, files_of
from runs import Bad, Event, contents, difference, expect, killed, read, without_bookkeeping

# The third is PCRE2's, the last the system's.
SHORTAGE = re.compile("out of memory|has no memory|no more memory|Cannot allocate memory")


class Part(NamedTuple):
    events: Callable  # (sites, count, chance) -> [(site, details)]
    happen: Callable  # (site, details, directory, chance)
    count: int  # by default
    why_not: Callable = lambda sites: None  # why it cannot be done here
    alone: bool = False  # one event at a time


def spread(sites, count, chance):
    """Any recipe, and nothing else to choose."""
    return [(chance.choice(sites), None) for _ in range(count)]


def sample(events, count, chance):
    """count of them, in any order; all where count is 0 or larger."""
    chance.shuffle(events)
    return events[:count] if count else events


# ---- kills at any instant ----

def kill_at_random(site, _, directory, chance):
    """A chain of up to five kills, then a run that is left alone."""
    event = Event(site, directory)
    if chance.random() < 0.3:
        event.begin_with_old()
    for _ in range(chance.randint(1, 5)):
        process = event.start("--threads", str(chance.randint(1, 2)))
        time.sleep(chance.uniform(0, 1.1 * site.seconds))
        process.send_signal(signal.SIGKILL)
        done = event.finish(process)
        expect(killed(done) or done.told(), f"ended with {done.code}: {done.error()}")
        event.check_state()
        if done.code == 0:
            break
    event.go_on()


# ---- file operations ----

def each_operation(sites, kinds):
    """(site, (operation, kind)) of all file operations that a run has, new or with --force."""
    events = []
    for site in sites:
        for force in (False, True):
            event = Event(site, os.path.join(site.directory, "counting"))
            if force:
                event.begin_with_old()
            operations = event.count_operations()
            event.remove()
            events += [(site, (force, n, kind)) for n in range(1, operations + 1) for kind in kinds]
    return events


def begin_event(site, force, directory):
    event = Event(site, directory)
    if force:
        event.begin_with_old()
    return event


def operation_kills(sites, count, chance):
    return sample(each_operation(sites, ("before", "half")), count, chance)


def kill_at_operation(site, details, directory, _):
    """A kill before an operation, or within it if that is a write."""
    force, operation, kind = details
    event = begin_event(site, force, directory)
    done = event.watched("--threads", "1", kill=operation, half=int(kind == "half"))
    expect(killed(done), f"was to be killed, and ended with {done.code}: {done.error()}")
    event.check_state()
    event.go_on()


def operation_failures(sites, count, chance):
    return sample(each_operation(sites, (errno.EIO, errno.ENOSPC)), count, chance)


def fail_at_operation(site, details, directory, _):
    """An operation that the system refuses: told, and gone on from."""
    force, operation, number = details
    event = begin_event(site, force, directory)
    done = event.watched("--threads", "1", fail=operation, errno=number)
    expect(done.told(), f"ended with {done.code}: {done.error()}")
    event.check_state()
    if done.code == 0:
        files = without_bookkeeping(contents(event.output))
        expect(files == site.files, f"another result, in {difference(files, site.files)}")
        shutil.rmtree(event.output)
        for suffix in (".partial", ".replaced"):
            shutil.rmtree(event.output + suffix, ignore_errors=True)
    event.go_on()


# ---- power cuts ----

def power_cuts(sites, count, chance):
    """States that power cuts leave of recorded runs: each recipe, new, with --force, and going on."""
    logs, events = [], []
    for site in sites:
        for kind in ("new", "force", "resumed"):
            event = begin_event(site, kind == "force", f"{site.directory}/{site.name}.{kind}")
            if kind == "resumed":
                event.watched("--threads", "1", kill=event.count_operations() // 2)
                os.unlink(event.log)
                shutil.rmtree(event.output)
            shutil.copytree(event.disk, event.disk + ".before")
            event.watched(log=event.log)
            operations = int(site.tools.call(site.tools.powercut, "count", event.disk + ".before",
                                             event.log))
            site.tools.call(site.tools.powercut, "check", event.disk + ".before", event.log,
                            event.disk, "out")
            logs.append((site, event.directory, kind == "force", operations))
    for _ in range(count):
        site, recorded, force, operations = chance.choice(logs)
        cut = chance.randrange(6) if chance.random() < 0.5 else chance.randrange(6, 1 << 32)
        events.append((site, (recorded, force, chance.randint(1, operations), cut)))
    return events


def cut_power(site, details, directory, _):
    recorded, force, operation, cut = details
    event = begin_event(site, force, directory)
    shutil.rmtree(event.disk)
    site.tools.call(site.tools.powercut, "state", f"{recorded}/disk.before",
                    f"{recorded}/operations", str(operation), str(cut), event.disk)
    event.check_state()
    event.go_on()


# ---- memory ----

def call_stacks(site):
    """Of each allocation of a run what tells its call stack from others."""
    event = Event(site, os.path.join(site.directory, "counting"))
    path = os.path.join(event.directory, "stacks")
    event.quantize("--threads", "1", preload="memory", environment={"MEMORY_STACKS": path})
    stacks = read(path).split()
    event.remove()
    return stacks


def alone_and_with_all_after(site, numbers):
    return [(site, (n, last)) for n in sorted(numbers) for last in (n, 0)]


def allocation_failures(sites, count, chance):
    """One allocation fails, or all from it on: of each recipe, unless that is too many."""
    events = []
    for site in sites:
        events += alone_and_with_all_after(site, range(1, len(call_stacks(site)) + 1))
    return sample(events, count, chance)


def stack_failures(sites, count, chance):
    """The same for the first, the last and a middle one of those with the same call stack."""
    events = []
    for site in sites:
        numbers = {}
        for n, stack in enumerate(call_stacks(site), 1):
            numbers.setdefault(stack, []).append(n)
        chosen = {n for of in numbers.values() for n in (of[0], of[len(of) // 2], of[-1])}
        events += alone_and_with_all_after(site, chosen)
    return sample(events, count, chance)


def fail_allocations(site, details, directory, _):
    first, last = details
    event = Event(site, directory)
    done = event.quantize("--threads", "1", preload="memory",
                          environment={"MEMORY_FAIL": str(first), "MEMORY_LAST": str(last)})
    expect(done.told(), f"ended with {done.code}: {done.error()}")
    if done.code:
        expect(done.code == 1, f"ended with {done.code}: {done.error()}")
        expect(SHORTAGE.search(done.text), f"said of memory shortage: {done.error()}")
    event.check_state()
    expect((done.code == 0) == os.path.exists(event.output),
           f"exit code {done.code}, and a result is there or not: {done.error()}")
    event.go_on()


# ---- a full disk ----

def why_no_tmpfs(sites):
    probe = os.path.join(sites[0].directory, "probe")
    os.makedirs(probe)
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", probe], capture_output=True,
        check=False).returncode == 0
    if mounted:
        subprocess.run(["umount", probe], check=True)
    os.rmdir(probe)
    return None if mounted else "needs a root who may mount a tmpfs"


def disk_sizes(sites, count, chance):
    """Sizes from a page to more than the result takes."""
    events = []
    for i in range(count):
        site = sites[i % len(sites)]
        whole = sum(os.path.getsize(path) for path in files_of(site.result))
        events.append((site, 4096 * max(3, chance.randint(1, whole * 5 // 4096 // 4))))
    return events


def fill_disk(site, size, directory, _):
    """Refused, or broken off, for want of space; with more of it the run goes on."""
    event = Event(site, directory)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", event.disk], check=True)
    try:
        done = event.quantize()
        event.check_state()
        expect(done.told(), f"ended with {done.code}: {done.error()}")
        if done.code:
            expect("No space left" in done.text, f"said of a full disk: {done.error()}")
        subprocess.run(["mount", "-o", "remount,size=64m", event.disk], check=True)
        event.go_on()
    finally:
        subprocess.run(["umount", "-l", event.disk], check=True)


# ---- limits ----

MIB = 1 << 20
LIMITS = {
    "descriptors": (resource.RLIMIT_NOFILE, lambda chance: chance.randint(3, 24)),
    "file size": (resource.RLIMIT_FSIZE, lambda chance: chance.randint(0, 1200000)),
    "address space": (resource.RLIMIT_AS, lambda chance: chance.randint(20, 1000) * MIB),
    "stack": (resource.RLIMIT_STACK, lambda chance: chance.randint(128, 4096) * 1024),
    "processes": (resource.RLIMIT_NPROC, lambda chance: 0),
}


def limits(sites, count, chance):
    events = []
    for i in range(count):
        name = list(LIMITS)[i % len(LIMITS)]
        events.append((chance.choice(sites), (name, LIMITS[name][1](chance))))
    return events


def limit(site, details, directory, chance):
    """Told in words, and gone on from without the limit."""
    name, value = details
    event = Event(site, directory)
    done = event.quantize("--threads", str(chance.randint(1, 2)), setup=lambda: resource.setrlimit(
        LIMITS[name][0], (value, value)))
    started = not re.search("error while loading shared libraries", done.text)
    if started or done.code != 127:  # else the system has not even started it
        expect(done.told(), f"ended with {done.code}: {done.error()}")
    event.check_state()
    event.go_on()


# ---- damaged files ----

def damage_input(site, _, directory, chance):
    """Whatever is read: an error in words, or a result that is whole."""
    event = Event(site, directory, own_model=True)
    files = files_of(event.model) + [event.recipe] * 2
    files += [path for path in files if not path.endswith(".safetensors")]
    told = damage(chance.choice(files), chance)
    done = event.quantize("--threads", "1")
    expect(done.told(), f"{told}: ended with {done.code}: {done.error()}")
    if done.code:
        expect(not os.path.exists(event.output), f"{told}: refused, and left a result")
    elif os.path.exists(event.output):
        verify(event, told)


def verify(event, told, *options):
    done = subprocess.run([event.tools.awqc, "verify", event.output, *options],
                          capture_output=True, text=True, check=False,
                          env=event.tools.environment, timeout=event.tools.timeout)
    expect(done.returncode == 0,
           f"{told}: verify says {done.returncode}: {done.stdout}{done.stderr}")


def damage_partial(site, _, directory, chance):
    """What an interrupted run has left: done again, or refused, and never taken as it is."""
    event = Event(site, directory)
    operations = int(chance.uniform(0.15, 0.98) * event.count_operations())
    shutil.rmtree(event.output)
    event.watched("--threads", "1", kill=operations)
    files = [path for path in files_of(event.output + ".partial") if not path.endswith("lock")]
    if not files:
        return
    told = damage(chance.choice(files), chance)
    done = event.quantize("--threads", "1")
    expect(done.told(), f"{told}: ended with {done.code}: {done.error()}")
    if done.code:
        expect("--restart" in done.text, f"{told}: refused without a way out: {done.error()}")
        expect(not os.path.exists(event.output), f"{told}: refused, and left a result")
        event.go_on("--restart")
        return
    files = contents(event.output)
    expect(files == site.files, f"{told}: another result, in {difference(files, site.files)}")


def why_no_verify(sites):
    return None if sites[0].tools.verifies() else "needs awqc verify"


def damage_output(site, _, directory, chance):
    """A finished result: verify finds it."""
    event = Event(site, directory)
    shutil.copytree(site.result, event.output)
    verify(event, "untouched")
    told = damage(chance.choice(files_of(event.output)), chance)
    done = subprocess.run([event.tools.awqc, "verify", event.output], capture_output=True,
                          check=False, env=event.tools.environment, timeout=event.tools.timeout)
    expect(done.returncode in (1, 2), f"{told}: verify says {done.returncode}")


PARTS = {
    "kills": Part(spread, kill_at_random, 300),
    "operations": Part(operation_kills, kill_at_operation, 1000),
    "failures": Part(operation_failures, fail_at_operation, 500),
    "powercuts": Part(power_cuts, cut_power, 1000),
    "stacks": Part(stack_failures, fail_allocations, 0),
    "allocations": Part(allocation_failures, fail_allocations, 2000),
    "disk": Part(disk_sizes, fill_disk, 40, why_no_tmpfs),
    "limits": Part(limits, limit, 200),
    "inputs": Part(spread, damage_input, 900),
    "partials": Part(spread, damage_partial, 400),
    "outputs": Part(spread, damage_output, 300, why_no_verify),
}


def chance_of(*seed):
    return random.Random("/".join(map(str, seed)))


__all__ = ["Bad", "PARTS", "chance_of"]
