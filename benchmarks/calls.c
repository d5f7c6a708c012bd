/* What a call costs under each of several filters.

   calls ROUNDS FILTER... <CALLS     a FILTER is a file of struct sock_filter, or "-" for none; the first two deny nothing. A line of CALLS is a kind, a
   number and six arguments. Kind 2: plainly allowed; 1: permitted by looking at arguments; 0: denied by all filters but the first two, and not made under those.
   Output, a line a call: for every filter the least and the median of all samples, in nanoseconds a call. Two lines follow: the calls of
   kind 1 in random order, and those of kind 0, so that neither caches nor branch predictors know what comes next.

   A filter cannot be taken off again, so each round starts a child a filter, in an order that turns from round to round. All run pinned to
   the CPU that the parent is on. A child times the calls in turn, each in a few short loops: an interrupt spoils one sample of many. */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CALLS = 64, FILTERS = 8, SAMPLES = 3, LOOP = 500, OPEN = 2 };

static long calls[CALLS][7];
static int kinds[CALLS];

/* A random order of the calls of one kind; long enough that no predictor learns it. */
enum { ORDER = 8192 };
static unsigned char orders[2][ORDER];

static int shuffle(int kind, int count) {
    unsigned char own[CALLS];
    int many = 0;
    for (int c = 0; c < count; c++)
        if (kinds[c] == kind) own[many++] = c;
    unsigned state = 1;
    for (int i = 0; many && i < ORDER; i++) orders[kind][i] = own[((state = state * 1664525 + 1013904223) >> 16 & 0x7fff) % many];
    return many;
}
static struct sock_filter code[FILTERS][4096];
static struct sock_fprog programs[FILTERS];

static inline long call(const long *c) {
#ifdef __x86_64__
    register long r10 __asm__("r10") = c[4], r8 __asm__("r8") = c[5], r9 __asm__("r9") = c[6];
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(c[0]), "D"(c[1]), "S"(c[2]), "d"(c[3]), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
#else
    long result = syscall(c[0], c[1], c[2], c[3], c[4], c[5], c[6]);
    return result < 0 ? -errno : result;
#endif
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* answered in user space: no filter is run for it */
    return 1e9 * t.tv_sec + t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
    int rounds = atoi(argv[1]), filters = argc - 2, count = 0, cpu = sched_getcpu();
    if (filters > FILTERS || rounds < 1) return 2;
    for (int f = 0; f < filters; f++)
        if (strcmp(argv[2 + f], "-")) {
            FILE *file = fopen(argv[2 + f], "rb");
            if (!file) return perror(argv[2 + f]), 2;
            programs[f].len = fread(code[f], sizeof *code[f], 4096, file);
            programs[f].filter = code[f];
            fclose(file);
        }
    char line[512];
    while (count < CALLS && fgets(line, sizeof line, stdin)) {
        char *at = line;
        kinds[count] = strtol(at, &at, 10);
        for (int i = 0; i < 7; i++) calls[count][i] = (long)strtoull(at, &at, 0);
        count++;
    }
    int rows = count + 2, many[2] = {shuffle(0, count), shuffle(1, count)};
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    setpriority(PRIO_PROCESS, 0, -20); /* as far as that is permitted */

    size_t each = (size_t)rounds * SAMPLES;
    double *samples = mmap(0, filters * rows * each * sizeof *samples, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (samples == MAP_FAILED) return perror("mmap"), 2;
    for (int round = 0; round < rounds; round++)
        for (int turn = 0; turn < filters; turn++) {
            int f = (turn + round) % filters, status;
            pid_t child = fork();
            if (child == 0) {
                if (programs[f].len && prctl(PR_SET_SECCOMP, 2, &programs[f], 0, 0)) _exit(3);
                for (int c = 0; c < count; c++) {
                    if (!kinds[c] && f < OPEN) continue;
                    long first = call(calls[c]);
                    if (!kinds[c] && first != -EPERM && first != -ENOSYS) _exit(4);
                    for (int i = 0; i < LOOP; i++) call(calls[c]); /* caches and predictors learn */
                    for (int s = 0; s < SAMPLES; s++) {
                        double start = now();
                        for (int i = 0; i < LOOP; i++) call(calls[c]);
                        samples[(f * rows + c) * each + round * SAMPLES + s] = (now() - start) / LOOP;
                    }
                }
                for (int kind = 0; kind < 2; kind++)
                    for (int s = -1; s < SAMPLES && many[kind] && (kind || f >= OPEN); s++) {
                        double start = now();
                        for (int i = 0; i < ORDER; i++) call(calls[orders[kind][i]]);
                        if (s >= 0) samples[(f * rows + count + 1 - kind) * each + round * SAMPLES + s] = (now() - start) / ORDER;
                    }
                _exit(0);
            }
            if (waitpid(child, &status, 0) < 0 || status) return fprintf(stderr, "%s: status %#x\n", argv[2 + f], status), 3;
        }
    for (int c = 0; c < rows; c++, puts(""))
        for (int f = 0; f < filters; f++) {
            double *own = samples + (f * rows + c) * each;
            qsort(own, each, sizeof *own, compare);
            printf("%.2f %.2f ", own[0], own[each / 2]);
        }
    return 0;
}
