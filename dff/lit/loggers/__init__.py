"""Lightning's loggers, made to outlive full disks and absent servers."""
