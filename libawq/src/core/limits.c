/* How much memory the system lets this process take, and what says so. */
#include "core/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define LINE_BYTES 4096
#define MOST_BYTES ((uint64_t)1 << 62) /* more is as good as no limit */

/* ---- memory cgroups ---- */

/* Where a hierarchy of cgroups is mounted, and which of its groups is seen there. */
typedef struct mount {
    char root[LINE_BYTES], point[LINE_BYTES];
    bool unified; /* version 2 */
} mount;

/* "\040" and the like, as mountinfo writes what would end a field. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *c = text; *c; c++) {
        bool octal = c[0] == '\\' && c[1] >= '0' && c[1] <= '3' && c[2] >= '0' && c[2] <= '7' &&
                     c[3] >= '0' && c[3] <= '7';
        *to++ = octal ? (char)((c[1] - '0') * 64 + (c[2] - '0') * 8 + c[3] - '0') : *c;
        c += octal ? 3 : 0;
    }
    *to = 0;
}

static bool in_list(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (!strncmp(at, word, length) && (!at[length] || at[length] == ','))
            return true;
    }
    return false;
}

/* One line of mountinfo. False if it is no mount of memory cgroups. */
static bool read_mount(char *line, mount *m)
{
    char type[64] = "", options[LINE_BYTES] = "";
    char *rest = strstr(line, " - ");
    if (!rest || sscanf(line, "%*s %*s %*s %4095s %4095s", m->root, m->point) != 2 ||
        sscanf(rest + 3, "%63s %*s %4095s", type, options) != 2)
        return false;
    unescape(m->root);
    unescape(m->point);
    m->unified = !strcmp(type, "cgroup2");
    return m->unified || (!strcmp(type, "cgroup") && in_list(options, "memory"));
}

/* The group of this process in the hierarchy: a line "0::/path" or "4:cpu,memory:/path". */
static bool find_group(const char *cgroup_file, bool unified, char path[LINE_BYTES])
{
    char line[LINE_BYTES];
    bool found = false;
    FILE *file = fopen(cgroup_file, "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = 0;
        group[strcspn(group, "\n")] = 0;
        found = unified ? !controllers[1] : in_list(controllers + 1, "memory");
        if (found)
            snprintf(path, LINE_BYTES, "%s", group);
    }
    if (file)
        fclose(file);
    return found;
}

/* A number in a file of its own; MOST_BYTES if there is none, or "max". */
static uint64_t read_number(const char *path)
{
    char text[64] = "", *end;
    FILE *file = fopen(path, "re");
    if (file && !fgets(text, sizeof text, file))
        text[0] = 0;
    if (file)
        fclose(file);
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    return end == text || errno || number > MOST_BYTES ? MOST_BYTES : number;
}

static void lower(awq__memory_limit *limit, uint64_t bytes, const char *source)
{
    if (bytes >= limit->bytes)
        return;
    *limit = (awq__memory_limit){.bytes = bytes};
    snprintf(limit->source, sizeof limit->source, "%s", source);
}

/* The group and all above it, each of which may have a limit. */
static void look_up(const mount *m, char *group, awq__memory_limit *limit)
{
    static const char *const unified[] = {"memory.max", "memory.high"};
    static const char *const old[] = {"memory.limit_in_bytes"};
    for (;;) {
        for (int i = 0; i < (m->unified ? 2 : 1); i++) {
            char path[3 * LINE_BYTES], source[sizeof limit->source];
            const char *name = m->unified ? unified[i] : old[i];
            snprintf(path, sizeof path, "%s%s/%s", m->point, group, name);
            snprintf(source, sizeof source, "%s of the memory cgroup %.120s", name,
                     *group ? group : "/");
            lower(limit, read_number(path), source);
        }
        char *slash = strrchr(group, '/');
        if (!slash)
            return;
        *slash = 0;
    }
}

void awq__cgroup_limit(const char *cgroup_file, const char *mounts_file, awq__memory_limit *limit)
{
    char line[LINE_BYTES], path[LINE_BYTES];
    FILE *file = fopen(mounts_file, "re");
    while (file && fgets(line, sizeof line, file)) {
        mount m;
        if (!read_mount(line, &m) || !find_group(cgroup_file, m.unified, path))
            continue;
        /* In a container the mount may begin at a group in the middle. */
        size_t length = strcmp(m.root, "/") ? strlen(m.root) : 0;
        bool within = !strncmp(path, m.root, length) && (path[length] == '/' || !path[length]);
        char *group = within ? path + length : path + strlen(path);
        if (!strcmp(group, "/"))
            group++;
        look_up(&m, group, limit);
    }
    if (file)
        fclose(file);
}

/* ---- all of them ---- */

void awq__memory_limit_find(uint64_t asked, awq__memory_limit *limit)
{
    *limit = (awq__memory_limit){.bytes = MOST_BYTES};
    awq__cgroup_limit("/proc/self/cgroup", "/proc/self/mountinfo", limit);
    if (asked) {
        lower(limit, asked, "memory_limit");
        limit->asked = !strcmp(limit->source, "memory_limit");
        return;
    }
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    if (pages > 0 && size > 0)
        lower(limit, (uint64_t)pages * (uint64_t)size, "the memory of this machine");
}

/* ---- the address space ---- */

size_t awq__address_space_used(void)
{
    char line[64] = "";
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && !fgets(line, sizeof line, file))
        line[0] = 0;
    if (file)
        fclose(file);
    return strtoul(line, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE); /* the first number, of pages */
}

int64_t awq__address_space_left(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return INT64_MAX;
    int64_t left = (int64_t)limit.rlim_cur - (int64_t)awq__address_space_used();
    return left > 0 ? left : 0;
}
