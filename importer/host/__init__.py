"""The KVM host: one SSH connection, libvirt and QEMU behind it."""
