#!/usr/bin/env python3
"""Does to whole runs what may happen to them, and checks that nothing is lost (README.md)."""
import argparse
import multiprocessing
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True  # nothing is left beside the sources

# pylint: disable=wrong-import-position
from parts import PARTS, chance_of
from runs import RECIPES, Bad, Site, Tools, contents, difference

SITES = []  # of this process, and inherited by the workers


def happen(job):
    """One event; what was bad about it, or None. The directory of a bad one is kept."""
    part, number, site_number, details, seed, work = job
    site = SITES[site_number]
    directory = os.path.join(work, f"{part}-{number}")
    try:
        PARTS[part].happen(site, details, directory, chance_of(seed, part, number))
    except Exception as problem:  # pylint: disable=broad-exception-caught
        if not isinstance(problem, Bad):
            problem = traceback.format_exc()
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "why"), "w", encoding="utf-8") as file:
            file.write(f"{site.name} {details}: {problem}\n")
        return f"{directory}: {site.name} {details}: {problem}"
    shutil.rmtree(directory)
    return None


def cpu_seconds():
    """Of all that has ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_part(name, options, pool_size):
    """The number of bad events, and a row of the summary."""
    part, begin, used = PARTS[name], time.monotonic(), cpu_seconds()
    why_not = part.why_not(SITES)
    if why_not:
        print(f"{name}: skipped: {why_not}", flush=True)
        return 0, f"| {name} | skipped: {why_not} | | |"
    count = part.count if options.count is None else options.count
    events = part.events(SITES, count, chance_of(options.seed, name))
    jobs = [(name, i, SITES.index(site), details, options.seed, options.work)
            for i, (site, details) in enumerate(events)]
    bad = 0
    with multiprocessing.get_context("fork").Pool(pool_size) as pool:
        for problem in pool.imap_unordered(happen, jobs):
            if problem:
                bad += 1
                print(problem, flush=True)
        pool.close()
        pool.join()
    seconds, used = time.monotonic() - begin, cpu_seconds() - used
    print(f"{name}: {len(jobs)} events, {bad} bad ({seconds:.0f} s, {used:.0f} s of processors)",
          flush=True)
    return bad, f"| {name} | {len(jobs)} | {bad} | {used:.0f} |"


def parse():
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=[*PARTS, "all"], metavar="PART",
                        help=f"{', '.join(PARTS)}, or all")
    parser.add_argument("--count", type=int, help="events of each part; 0: all there are")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="events at a time")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--recipes", default=",".join(RECIPES), help="of " + ", ".join(RECIPES))
    parser.add_argument("--build", default=os.path.join(root, "build", "release"))
    parser.add_argument("--data", default=os.path.join(root, "tests", "data"))
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
    parser.add_argument("--work", default=memory, help="where directories are made")
    parser.add_argument("--timeout", type=float, default=120, help="seconds until a run hangs")
    options = parser.parse_args()
    options.work = tempfile.mkdtemp(prefix="awq-campaign.", dir=options.work)
    return options


def check_sources(before):
    """No event may have changed a model that it only reads."""
    bad = 0
    for model, files in before.items():
        changed = difference(contents(model), files)
        if changed:
            print(f"{model}: changed: {changed}")
            bad += 1
    return bad


def main():
    options = parse()
    os.environ.pop("LD_PRELOAD", None)
    tools = Tools(os.path.abspath(options.build), options.data, options.timeout)
    for name in options.recipes.split(","):
        SITES.append(Site(tools, name, os.path.join(options.work, "sites")))
    models = {site.model: contents(site.model) for site in SITES}
    names = list(PARTS) if "all" in options.parts else options.parts
    results = [run_part(name, options, max(1, options.jobs)) for name in names]
    bad = sum(count for count, _ in results) + check_sources(models)
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, seed {options.seed}\n")
    print("| part | events | bad | seconds of processors |\n|---|---|---|---|")
    print("\n".join(row for _, row in results))
    if bad:
        print(f"what is bad is kept in {options.work}")
    else:
        shutil.rmtree(options.work)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
