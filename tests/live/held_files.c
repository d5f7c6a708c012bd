/* A file system of one file, "file", that takes requests of one kind and never answers them (linux/fuse.h), for one command.
 *
 * held_files DIRECTORY REQUEST COMMAND...: mounted on DIRECTORY in a mount namespace of its own, in which COMMAND replaces this process. REQUEST is open,
 * read, or create: of any other name; "file" is empty until that was asked for. It ends with COMMAND, and then whoever waits for an answer is told that there is none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int device;
static char buffer[1 << 20];

static void answer(unsigned long unique, int error, const void *body, size_t size) {
    struct fuse_out_header head = {.len = sizeof head + size, .error = error, .unique = unique};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)body, size}};
    if (writev(device, parts, size ? 2 : 1) < 0 && errno != ENOENT) _exit(4);
}

static void serve(const char *held) {
    int creates = !strcmp(held, "create"), asked = !creates;
    for (;;) {
        ssize_t got = read(device, buffer, sizeof buffer);
        if (got < 0 && (errno == EINTR || errno == ENOENT)) continue;
        if (got < 0) _exit(0);
        struct fuse_in_header *in = (void *)buffer;
        int root = in->nodeid == FUSE_ROOT_ID && in->opcode != FUSE_LOOKUP;
        struct fuse_attr attr = {.ino = root ? 1 : 2, .mode = root ? S_IFDIR | 0755 : S_IFREG | 0644, .nlink = 1, .size = root || !asked ? 0 : 4096, .blksize = 4096};
        struct fuse_init_out init = {.major = 7, .minor = 31, .max_write = 65536};
        struct fuse_entry_out entry = {.nodeid = 2, .generation = 1, .entry_valid = 3600, .attr_valid = creates ? 0 : 3600, .attr = attr};
        struct fuse_attr_out status = {.attr_valid = creates ? 0 : 3600, .attr = attr};
        struct fuse_open_out opened = {.fh = 1};
        struct fuse_statfs_out whole = {.st = {.bsize = 4096, .namelen = 255}};
        switch (in->opcode) {
        case FUSE_INIT: answer(in->unique, 0, &init, sizeof init); break;
        case FUSE_LOOKUP:
            if (strcmp(buffer + sizeof *in, "file")) answer(in->unique, -ENOENT, 0, 0);
            else answer(in->unique, 0, &entry, sizeof entry);
            break;
        case FUSE_GETATTR: answer(in->unique, 0, &status, sizeof status); break;
        case FUSE_STATFS: answer(in->unique, 0, &whole, sizeof whole); break;
        case FUSE_OPEN:
            if (strcmp(held, "open")) answer(in->unique, 0, &opened, sizeof opened);
            break;
        case FUSE_READ:
            if (strcmp(held, "read")) answer(in->unique, 0, buffer, 4096);
            break;
        case FUSE_CREATE:
            asked = 1;
            if (!creates) answer(in->unique, -ENOSYS, 0, 0);
            break;
        case FUSE_FORGET: case FUSE_BATCH_FORGET: case FUSE_INTERRUPT: break;
        default: answer(in->unique, -ENOSYS, 0, 0);
        }
    }
}

int main(int argc, char **argv) {
    char options[128];
    int command = getpid();
    device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    snprintf(options, sizeof options, "fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", device);
    if (argc < 4 || device < 0 || unshare(CLONE_NEWNS) || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) || mount("held", argv[1], "fuse", MS_NOSUID | MS_NODEV, options)) {
        perror("held_files");
        return 3;
    }
    int server = fork();
    if (server == 0) {
        if (chdir("/") || prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != command) _exit(4);
        int null = open("/dev/null", O_RDWR);
        for (int stream = 0; stream < 3; stream++) dup2(null, stream);  /* whoever reads our output is not to wait for this process */
        serve(argv[2]);
    }
    execv(argv[3], argv + 3);
    perror(argv[3]);
    return 3;
}
