/* Tries to get at files that were not granted, in every way but by racing, and prints what came of each attempt. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *top;
static char buffer[4096];
static const char *in(const char *name) { static char text[4][4096]; static int turn; char *out = text[turn++ & 3]; snprintf(out, 4096, "%s/%s", top, name); return out; }
static void say(const char *what, long got) { printf("%s: %s\n", what, got >= 0 ? "ok" : strerrorname_np(errno)); }
static void opened(const char *what, const char *path, int flags) {
    int fd = open(path, flags, 0600);
    char text[32] = "";
    if (fd < 0) { printf("%s: %s\n", what, strerrorname_np(errno)); return; }
    ssize_t got = read(fd, text, 31);
    text[got > 0 ? got : 0] = 0;
    text[strcspn(text, "\n")] = 0;
    printf("%s: ok %s\n", what, strstr(text, "SECRET") ? "SECRET" : "");
    close(fd);
}
int main(int argc, char **argv) {
    setvbuf(stdout, 0, _IOLBF, 0);
    top = argv[1];
    chdir(in("work"));
    /* hidden: work/hidden/file, work/deep/er/key.pem (a glob), plain/one (a single file with another name plain/other) */
    opened("hidden", in("work/hidden/file"), O_RDONLY);
    opened("hidden by relative", "hidden/../hidden/file", O_RDONLY);
    symlink("hidden/file", "tohidden"); opened("hidden by link", "tohidden", O_RDONLY);
    opened("hidden by glob", "deep/er/key.pem", O_RDONLY);
    opened("hidden by another name", in("plain/other"), O_RDONLY);
    opened("create in hidden", in("work/hidden/new"), O_CREAT | O_WRONLY);
    say("rename hidden", rename("hidden", "seen"));
    say("rename to hidden", rename("deep", "hidden"));
    say("rename above a glob", rename("deep", "flat"));
    say("rename hidden file", rename("deep/er/key.pem", "deep/er/key.txt"));
    say("link hidden", link("deep/er/key.pem", "key.txt"));
    struct stat st; say("stat hidden", stat("hidden", &st)); say("access hidden", access("hidden/file", F_OK)); say("readlink hidden", readlink("hidden", buffer, 9));
    say("chmod hidden", chmod("hidden", 0777)); say("unlink hidden", unlink("hidden/file"));
    /* read only */
    say("link what may be read", link(in("plain/file"), "mine")); say("rename what may be read", rename(in("plain/file"), "mine"));
    opened("write what may be read", in("plain/file"), O_WRONLY); opened("truncate what may be read", in("plain/file"), O_RDONLY | O_TRUNC); say("unlink what may be read", unlink(in("plain/file")));
    say("chmod what may be read", chmod(in("plain/file"), 0777)); say("chown what may be read", chown(in("plain/file"), -1, -1)); say("truncate(2) what may be read", truncate(in("plain/file"), 0));
    int fd = open(in("plain/file"), O_RDONLY); say("fchmod what may be read", fchmod(fd, 0777)); say("fsetxattr what may be read", syscall(SYS_fsetxattr, fd, "user.x", "y", 1, 0));
    int flags = 0; say("ioctl what may be read", ioctl(fd, FS_IOC_SETFLAGS, &flags)); struct fsxattr extra = {0}; say("ioctl FSSETXATTR", ioctl(fd, FS_IOC_FSSETXATTR, &extra));
    snprintf(buffer, sizeof buffer, "/proc/self/fd/%d", fd); opened("reopen for writing", buffer, O_RDWR); opened("reopen for reading", buffer, O_RDONLY); say("utimensat by descriptor", utimensat(fd, "", NULL, AT_EMPTY_PATH));
    fd = syscall(SYS_openat, AT_FDCWD, in("plain"), O_PATH | O_DIRECTORY); say("O_PATH", fd); say("O_PATH used", openat(fd, "file", O_RDONLY)); say("O_PATH left", openat(fd, "../secret/file", O_RDONLY));
    /* outside */
    opened("outside", in("secret/file"), O_RDONLY); opened("outside by ..", "../secret/file", O_RDONLY); opened("outside by cwd", "/proc/self/cwd/../secret/file", O_RDONLY);
    snprintf(buffer, sizeof buffer, "/proc/self/root%s/secret/file", top); opened("outside by root", buffer, O_RDONLY);
    snprintf(buffer, sizeof buffer, "/proc/%d/task/%ld/root%s/secret/file", getpid(), syscall(SYS_gettid), top); opened("outside by task", buffer, O_RDONLY);
    say("chdir outside", chdir(in("secret"))); opened("outside from there", "file", O_RDONLY); opened("list from there", ".", O_RDONLY | O_DIRECTORY); say("stat from there", stat("file", &st)); chdir(in("work"));
    say("stat outside", stat(in("secret/file"), &st)); say("statx outside", syscall(SYS_statx, AT_FDCWD, in("secret/file"), 0, 0, buffer)); say("access outside", access(in("secret/file"), F_OK)); say("readlink outside", readlink("/proc/1/exe", buffer, 99));
    say("mkdir outside", mkdir(in("secret/x"), 0700)); say("rename outside", rename("tohidden", in("tohidden"))); say("symlink outside", symlink("x", in("secret/x"))); say("mknod outside", mknod(in("x"), S_IFREG | 0600, 0));
    say("nothing there", stat(in("none"), &st));
    /* other processes */
    snprintf(buffer, sizeof buffer, "/proc/%d/environ", getppid()); opened("parent's environment", buffer, O_RDONLY); snprintf(buffer, sizeof buffer, "/proc/%d/mem", getppid()); opened("parent's memory", buffer, O_RDWR);
    snprintf(buffer, sizeof buffer, "/proc/%d/fd", getppid()); opened("parent's descriptors", buffer, O_RDONLY | O_DIRECTORY); snprintf(buffer, sizeof buffer, "/proc/%d/root%s/secret/file", getppid(), top); opened("outside by parent's root", buffer, O_RDONLY);
    opened("its own memory", "/proc/self/mem", O_RDWR); opened("sysrq", "/proc/sysrq-trigger", O_WRONLY); opened("core_pattern", "/proc/sys/kernel/core_pattern", O_WRONLY); opened("uid_map", "/proc/self/uid_map", O_WRONLY);
    /* devices, mounts, ways around */
    say("mknod device", mknod("disk", S_IFBLK | 0600, 0x100)); say("mknodat device", mknodat(AT_FDCWD, "mem", S_IFCHR | 0600, 0x101)); opened("/dev/kmsg", "/dev/kmsg", O_RDONLY); opened("/dev/mem", "/dev/mem", O_RDONLY);
    say("mount", mount(in("secret"), in("plain"), 0, MS_BIND, 0)); say("unshare mounts", unshare(CLONE_NEWNS)); say("mount there", mount(in("secret"), "deep", 0, MS_BIND, 0)); say("pivot_root", syscall(SYS_pivot_root, ".", "deep"));
    say("open_tree", syscall(SYS_open_tree, AT_FDCWD, in("secret"), 1)); say("io_uring_setup", syscall(SYS_io_uring_setup, 4, buffer)); say("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, buffer, 0));
    say("name_to_handle_at", syscall(SYS_name_to_handle_at, AT_FDCWD, ".", buffer, buffer + 200, 0)); say("landlock_create_ruleset", syscall(SYS_landlock_create_ruleset, 0, 0, 1)); say("setns", setns(0, CLONE_NEWNS)); say("inotify on what is none", inotify_add_watch(0, ".", 2)); say("inotify outside", inotify_add_watch(inotify_init(), in("secret"), 2)); say("inotify hidden", inotify_add_watch(inotify_init(), "hidden", 2));
    say("acct", acct("a")); say("openat2 beneath", syscall(SYS_openat2, AT_FDCWD, "deep", (unsigned long[]){O_RDONLY, 0, 8}, 24)); say("openat2", syscall(SYS_openat2, AT_FDCWD, "deep", (unsigned long[]){O_RDONLY, 0, 0}, 24));
    /* programs */
    if (fork() == 0) { execl(in("secret/program"), "program", NULL); printf("execute outside: %s\n", strerrorname_np(errno)); _exit(0); } wait(0);
    if (fork() == 0) { execl(in("work/hidden/program"), "program", NULL); printf("execute hidden: %s\n", strerrorname_np(errno)); _exit(0); } wait(0);
    if (fork() == 0) { execl(in("plain/program"), "program", NULL); printf("execute plain: %s\n", strerrorname_np(errno)); _exit(0); } wait(0);
    prctl(PR_SET_DUMPABLE, 0); opened("not dumpable", in("plain/file"), O_RDONLY); prctl(PR_SET_DUMPABLE, 1); opened("dumpable again", in("plain/file"), O_RDONLY);
    return 0;
}
