/* A target of the notify engine: victim FD FLAGS WHAT [ARGUMENT...]. Its listener goes over the socket FD, and a byte comes back when it is served. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void show(const char *what, long result) {
    printf("%s %ld %d\n", what, result < 0 ? -1 : result, result < 0 ? errno : 0);
    fflush(stdout);
}

static int confine(long flags) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getpgid, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getsid, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_epoll_create1, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_memfd_create, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER | flags, &program);
}

static void hand_over(int channel, int listener) {
    char byte = 0, space[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_RIGHTS, head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &listener, sizeof listener);
    if (sendmsg(channel, &message, 0) != 1 || read(channel, &byte, 1) != 1) exit(9);
    close(listener);
    close(channel);
}

static volatile int alarms;
static void on_alarm(int number) { alarms++; (void)number; }

static void storm(int calls, int restart) {
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = restart ? SA_RESTART : 0};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval every = {{0, 1000}, {0, 1000}};
    setitimer(ITIMER_REAL, &every, NULL);
    int wrong = 0, interrupted = 0;
    for (int i = 0; i < calls; i++) {
        long got = syscall(SYS_getsid, i);
        if (got == -1 && errno == EINTR) { interrupted++, i--; continue; }
        wrong += got != 1000 + i;
    }
    while (!alarms) {}
    printf("wrong %d interrupted %d\n", wrong, interrupted);
}

static void *one_thread(void *number) {
    long wrong = 0;
    for (long i = 0; i < 20; i++) wrong += syscall(SYS_getsid, (long)number + i) != 1000 + (long)number + i;
    return (void *)wrong;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    int listener = confine(atol(argv[2]));
    if (listener < 0) { perror("seccomp"); return 8; }
    hand_over(atoi(argv[1]), listener);
    const char *what = argv[3];
    if (!strcmp(what, "calls")) {
        for (int i = 4; i < argc; i++) show(argv[i], syscall(SYS_getpgid, atol(argv[i])));
    } else if (!strcmp(what, "inject")) {
        long fd = syscall(SYS_epoll_create1, 0);
        char text[8] = "";
        show("fd", fd);
        show("flags", fcntl(fd, F_GETFD));
        show("read", read(fd, text, 5));
        printf("%s\n", text);
    } else if (!strcmp(what, "nofile")) {
        struct rlimit none = {3, 3};
        setrlimit(RLIMIT_NOFILE, &none);
        show("fd", syscall(SYS_epoll_create1, 0));
    } else if (!strcmp(what, "name")) {
        show("name", syscall(SYS_memfd_create, "the name", 0));
    } else if (!strcmp(what, "storm")) {
        storm(atoi(argv[4]), atoi(argv[5]));
    } else if (!strcmp(what, "threads")) {
        pthread_t all[4];
        long wrong = 0;
        for (long i = 0; i < 4; i++) pthread_create(&all[i], NULL, one_thread, (void *)(i * 100));
        for (int i = 0; i < 4; i++) { void *got; pthread_join(all[i], &got); wrong += (long)got; }
        printf("wrong %ld\n", wrong);
    } else if (!strcmp(what, "children")) {
        for (int i = 0; i < 4; i++)
            if (fork() == 0) _exit(syscall(SYS_getsid, 5) == 1005 ? 0 : 1);
        int bad = 0, status;
        while (wait(&status) > 0) bad += status != 0;
        printf("bad %d\n", bad);
    } else if (!strcmp(what, "loop")) {
        long wrong = 0;
        for (long i = 0; i < atol(argv[4]); i++) wrong += syscall(SYS_getsid, i) != 1000 + i;
        return wrong != 0;
    }
    return 0;
}
