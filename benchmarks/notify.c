/* Both sides of a notified call in C: what the engine in benchmarks/notify.py is compared with.
 *   notify target FD CPU CALLS        under a filter that notifies getppid; prints nanoseconds a call
 *   notify supervisor FD CPU HOW      answers each with EPERM. HOW: 1 wakes in step, 2 polls before each, as who waits for more than one thing must
 * FD is a socket between the two: the listener goes over it, and a byte comes back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

static void on_cpu(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set)) { perror("sched_setaffinity"); exit(1); }
}

static int target(int channel, long calls) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                           SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
    if (listener < 0) { perror("seccomp"); return 1; }
    char byte = 0, space[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_RIGHTS, head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &listener, sizeof listener);
    if (sendmsg(channel, &message, 0) != 1 || read(channel, &byte, 1) != 1) { perror("channel"); return 1; }
    close(listener);
    struct timespec from, to;
    for (long i = 0; i < calls / 10; i++) syscall(SYS_getppid);
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (long i = 0; i < calls; i++)
        if (syscall(SYS_getppid) != -1 || errno != EPERM) { fprintf(stderr, "not denied\n"); return 1; }
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.1f\n", ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / calls);
    return 0;
}

static int supervisor(int channel, int how) {
    char byte = 0, space[CMSG_SPACE(sizeof(int))];
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    if (recvmsg(channel, &message, 0) != 1) { perror("recvmsg"); return 1; }
    int listener;
    memcpy(&listener, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof listener);
    if (how & 1) ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1ULL);
    if (write(channel, &byte, 1) != 1) return 1;
    for (;;) {
        struct seccomp_notif call;
        struct seccomp_notif_resp answer;
        struct pollfd ready = {listener, POLLIN, 0};
        if (how & 2 && (poll(&ready, 1, -1) != 1 || !(ready.revents & POLLIN))) return 0;
        memset(&call, 0, sizeof call);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call)) return errno == ENOENT ? 0 : 1;
        memset(&answer, 0, sizeof answer);
        answer.id = call.id, answer.error = -EPERM;
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer)) return errno == ENOENT ? 0 : 1;
    }
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    on_cpu(atoi(argv[3]));
    if (!strcmp(argv[1], "target")) return target(atoi(argv[2]), atol(argv[4]));
    return supervisor(atoi(argv[2]), atoi(argv[4]));
}
