"""libvirt's backup jobs: begun, watched and ended on the KVM host, with nothing left there."""
