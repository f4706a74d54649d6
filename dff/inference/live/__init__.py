"""Live video: cameras, streams and files at their own pace, recognised as they come."""
