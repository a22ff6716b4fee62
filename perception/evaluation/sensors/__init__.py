"""Do the sensors of a recording agree, and are their files whole? tools/check_sensors.py; see docs/sensors.md."""
