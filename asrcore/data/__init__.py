"""Dataset in, shards out: inspect, tags, shards. Sees NeMo manifests and audio files only; imports no training library."""
