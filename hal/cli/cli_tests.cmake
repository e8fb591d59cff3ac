# SPDX-License-Identifier: Apache-2.0
# Each subcommand, good and bad input: hal_cli_test(name EXIT code MATCH regex ARGS ...).
set(data "${PROJECT_SOURCE_DIR}/samples/data")

# -- the command line itself
hal_cli_test(help EXIT 0 MATCH "^  devices +List" ARGS --help)
hal_cli_test(version EXIT 0 MATCH "^${PROJECT_VERSION}$" ARGS --version)
hal_cli_test(nothing EXIT 2 MATCH "subcommand is required" ARGS)
hal_cli_test(unknown_command EXIT 2 MATCH "frobnicate" ARGS frobnicate)
hal_cli_test(unknown_option EXIT 2 MATCH "--frobnicate" ARGS devices --frobnicate)

# -- devices, doctor
hal_cli_test(devices EXIT 0 MATCH "^host:0 +.* no +.* host +yes$" ARGS devices)
hal_cli_test(devices_json EXIT 0 MATCH "\"uri\": \"host:0\"" ARGS devices --json)
hal_cli_test(devices_no_drivers EXIT 0 MATCH "^URI" ARGS devices ENV HALYARD_DRIVER_PATH=/nonexistent)
hal_cli_test(doctor EXIT 0 MATCH "^  host: loaded" ARGS doctor)
hal_cli_test(doctor_missing_driver EXIT 0 MATCH "nosuch: unavailable: no file halyard-nosuch.so" ARGS doctor
  ENV HALYARD_DRIVERS=host:nosuch)
hal_cli_test(doctor_nothing EXIT 1 MATCH "Nothing is usable. Try" ARGS doctor ENV HALYARD_DRIVERS=nosuch)
hal_cli_test(doctor_typo EXIT 0 MATCH "HALYARD_TRAEC +is set and nobody reads it" ARGS doctor ENV HALYARD_TRAEC=x)

# -- graph
hal_cli_test(graph_missing EXIT 1 MATCH "no-such.hal cannot be opened: No such file.*NOT_FOUND" ARGS graph no-such.hal)
hal_cli_test(graph_damaged EXIT 1 MATCH "INVALID_IMAGE" ARGS graph ${data}/digits_labels.npy)

# -- run, bad input
hal_cli_test(run_no_program EXIT 2 MATCH "--graph" ARGS run --device host:0)
hal_cli_test(run_missing_graph EXIT 1 MATCH "no-such.hal cannot be opened" ARGS run --device host:0 --graph no-such.hal)
hal_cli_test(run_bad_image EXIT 1 MATCH "expected FORMAT:FILE" ARGS run --device host:0 --image ptx)
hal_cli_test(run_functions EXIT 1 MATCH "cannot come from a file" ARGS run --device host:0
  --image host.functions:${data}/digits_labels.npy)
hal_cli_test(run_damaged_graph EXIT 1 MATCH "INVALID_IMAGE" ARGS run --device host:0 --graph ${data}/digits_labels.npy)
hal_cli_test(run_bad_grid EXIT 1 MATCH "--grid 1,x: expected one to three numbers" ARGS run --device host:0
  --graph ${data}/digits_labels.npy --grid 1,x)
hal_cli_test(run_unknown_device EXIT 1 MATCH "no driver 'nosuch' for device 'nosuch:0'" ARGS run --device nosuch:0
  --graph ${data}/digits_labels.npy)
hal_cli_test(run_missing_index EXIT 1 MATCH "host:99.*does not exist" ARGS run --device host:99
  --graph ${data}/digits_labels.npy)
hal_cli_test(run_bad_uri EXIT 1 MATCH "position 5.*INVALID_ARGUMENT" ARGS run --device "host:!"
  --graph ${data}/digits_labels.npy)

# -- launch
hal_cli_test(launch EXIT 0 MATCH "^rank [01] of 2$" ARGS launch -n 2 sh -c
  "echo rank $HALYARD_RANK of $HALYARD_WORLD_SIZE")
hal_cli_test(launch_exit_code EXIT 7 MATCH "rank" ARGS launch -n 2 sh -c "exit 7")
hal_cli_test(launch_no_program EXIT 2 MATCH "no program was given" ARGS launch -n 2)
hal_cli_test(launch_unknown_program EXIT 1 MATCH "no-such-program.*cannot be run.*NOT_FOUND" ARGS launch -n 2 ./no-such-program)
hal_cli_test(launch_no_ranks EXIT 1 MATCH "INVALID_ARGUMENT" ARGS launch -n 0 true)
hal_cli_test(launch_timeout EXIT 124 MATCH "." ARGS launch -n 2 --timeout 0.2 sleep 30)
