/* Holds its supervisor: the argument of its call lies in a page that nobody ever serves, so that whoever reads it waits in the kernel.
 *
 * held_victim CALL [FILE]: CALL is mkdir, open or connect. Without FILE the page is one of userfaultfd(2)'s, with it one of that file, mapped.
 * "stop" as FILE: as without, but the process that was started stops as if by the terminal, and another one makes the call then. "burn": as without, but the child uses half
 * a second of processor time.
 * Prints its pid and that of a child in a session of its own, then calls. Every signal that can be is ignored.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char *missing_page(void) {
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    int faults = device < 0 ? -1 : ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API};
    char *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register range = {.range = {(unsigned long)page, 4096}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (faults < 0 || ioctl(faults, UFFDIO_API, &api) || ioctl(faults, UFFDIO_REGISTER, &range)) {
        perror("userfaultfd");
        exit(3);
    }
    return page;
}

static char *mapped_page(const char *name) {
    int file = open(name, O_RDONLY | O_CLOEXEC);
    char *page = file < 0 ? MAP_FAILED : mmap(0, 4096, PROT_READ, MAP_PRIVATE, file, 0);
    if (page == MAP_FAILED) {
        perror(name);
        exit(3);
    }
    return page;
}

static void look(int pid, char *state, int *parent) {
    char name[32];
    snprintf(name, sizeof name, "/proc/%d/stat", pid);
    FILE *file = fopen(name, "r");
    if (!file || fscanf(file, "%*d (%*[^)]) %c %d", state, parent) != 2) {
        perror(name);
        exit(3);
    }
    fclose(file);
}

int main(int argc, char **argv) {
    const char *file = argc > 2 ? argv[2] : 0;
    for (int number = 1; number < 32; number++)
        if (number != SIGTSTP) signal(number, SIG_IGN);
    int stopped = file && !strcmp(file, "stop"), burns = file && !strcmp(file, "burn");
    if (stopped && fork() != 0) {
        raise(SIGTSTP);
        for (;;) pause();
    }
    if (stopped) {
        /* Not before the supervisor has had its own parent stopped: held, it would not. */
        int supervisor, guard;
        char state;
        look(getppid(), &state, &supervisor);
        look(supervisor, &state, &guard);
        for (int parent; look(guard, &state, &parent), state != 'T';) sched_yield();
        setsid();
    }
    int begun[2];
    char byte;
    if (pipe(begun)) return 3;
    int child = fork();
    if (child == 0) {
        setsid();
        if (write(begun[1], "!", 1) != 1) return 3;
        while (burns && clock() < CLOCKS_PER_SEC / 2) continue;
        for (;;) pause();
    }
    if (read(begun[0], &byte, 1) != 1) return 3;  /* a new process waits for its tracer, which will be held */
    char *page = file && !stopped && !burns ? mapped_page(file) : missing_page();
    printf("%d %d\n", getpid(), child);
    fflush(stdout);
    if (!strcmp(argv[1], "mkdir")) mkdir(page, 0);
    else if (!strcmp(argv[1], "open")) open(page, O_RDONLY);
    else connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)page, 16);
    printf("went on\n");
    fflush(stdout);
    for (;;) pause();
}
