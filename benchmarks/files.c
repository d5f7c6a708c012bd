/* files CALL PATH TIMES: nanoseconds a call. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    const char *call = argv[1], *path = argv[2];
    long times = atol(argv[3]), i;
    struct timespec before, after;
    struct stat status;
    char byte;
    int file = open(path, O_RDONLY);
    for (i = -times / 10; i < times; i++) {
        if (i == 0) clock_gettime(CLOCK_MONOTONIC, &before);
        if (!strcmp(call, "open")) {
            int fd = open(path, O_RDONLY);
            if (fd < 0) return 1;
            close(fd);
        } else if (!strcmp(call, "stat")) {
            if (stat(path, &status)) return 1;
        } else if (!strcmp(call, "missing")) {
            if (stat("missing", &status) == 0) return 1;
        } else if (!strcmp(call, "pread")) {
            if (pread(file, &byte, 1, 0) < 0) return 1;
        } else
            syscall(SYS_getppid);
    }
    clock_gettime(CLOCK_MONOTONIC, &after);
    printf("%.1f\n", ((after.tv_sec - before.tv_sec) * 1e9 + (after.tv_nsec - before.tv_nsec)) / times);
    return 0;
}
