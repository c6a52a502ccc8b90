"""The kinds of storage, one file each; `storage.backends.registry.open_store` opens any of them."""
