# SPDX-License-Identifier: Apache-2.0
# Each subcommand, good and bad input: hal_cli_test(name EXIT code MATCH regex ARGS ...).
set(data "${PROJECT_SOURCE_DIR}/samples/data")

# -- the command line itself
hal_cli_test(help EXIT 0 MATCH "^  devices +List" ARGS --help)
hal_cli_test(version EXIT 0 MATCH "^${PROJECT_VERSION}$" ARGS --version)
hal_cli_test(nothing EXIT 2 MATCH "subcommand is required" ARGS)
hal_cli_test(unknown_command EXIT 2 MATCH "frobnicate" ARGS frobnicate)
hal_cli_test(unknown_option EXIT 2 MATCH "^halyard devices: .*--frobnicate" ARGS devices --frobnicate)
hal_cli_test(hint EXIT 2 MATCH "^try: halyard cache list --help$" ARGS cache list --frobnicate)
foreach(seconds nan inf -1 1e99 1s)
  hal_cli_test(replay_timeout_${seconds} EXIT 2 MATCH "^halyard replay: --timeout: expected seconds from 0.001 to 86400, not '${seconds}'$"
    ARGS replay no-such.halrec --timeout ${seconds})
  hal_cli_test(run_timeout_${seconds} EXIT 2 MATCH "^halyard run: --timeout: expected seconds from 0.001 to 86400, not '${seconds}'$"
    ARGS run --device host:0 --graph no-such.graph --timeout ${seconds})
endforeach()
# An empty value, as of a variable that is not set, is not the same as none.
function(hal_cli_empty_test option)
  add_test(NAME cli_empty_${ARGV1}${option} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/expect.sh 2 "^halyard ${ARGV1}.*: ${option} is given empty$"
    $<TARGET_FILE:halyard> ${ARGN} ${option} "")
  hal_time_limit(60 cli_empty_${ARGV1}${option})
endfunction()
hal_cli_empty_test(--svg graph no-such.graph)
hal_cli_empty_test(--device replay no-such.halrec)
hal_cli_empty_test(--export demo)
hal_cli_empty_test(--folder cache list)
hal_cli_empty_test(--only bench)
hal_cli_empty_test(--json conformance)
hal_cli_test(run_empty_file EXIT 2 MATCH "--out: expected NAME=VALUE, not 'y='" ARGS run --device host:0 --graph no-such.graph
  --out y=)
# The streams that a shell may close.
foreach(words --help --version devices)
  add_test(NAME cli_closed_${words} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/expect.sh 1 "the output could not be written: Bad file"
    sh -c "exec $0 ${words} >&-" $<TARGET_FILE:halyard>)
  hal_time_limit(60 cli_closed_${words})
endforeach()
string(ASCII 7 bell)
hal_cli_test(control_characters EXIT 0 MATCH "^  HALYARD_EMULATED_CUDA_LOG += a[?]b  1 lets" ARGS doctor
  ENV HALYARD_EMULATED_CUDA_LOG=a${bell}b)

# -- devices, doctor
hal_cli_test(devices EXIT 0 MATCH "^host:0 +.* no +.* host +yes$" ARGS devices)
hal_cli_test(devices_json EXIT 0 MATCH "\"uri\": \"host:0\"" ARGS devices --json)
hal_cli_test(devices_no_drivers EXIT 0 MATCH "^URI" ARGS devices ENV HALYARD_DRIVER_PATH=/nonexistent)
hal_cli_test(devices_no_drivers_verbose EXIT 0 MATCH
  "no driver was found: no halyard-.*so in /nonexistent .there is no such folder.; HALYARD_DRIVER_PATH names that"
  ARGS devices -v ENV HALYARD_DRIVER_PATH=/nonexistent)
hal_cli_test(devices_json_verbose EXIT 2 MATCH "--json excludes --verbose|--verbose excludes --json" ARGS devices -v --json)
hal_cli_test(devices_log_nobody EXIT 0 MATCH "HALYARD_LOG gives a level to 'zork', .*subsystems are: .*host" ARGS devices
  ENV HALYARD_LOG=zork=debug)
hal_cli_test(devices_none EXIT 0 MATCH "no device was found" ARGS devices ENV HALYARD_DRIVERS=nosuch)
hal_cli_test(doctor EXIT 0 MATCH "^  host: loaded" ARGS doctor)
hal_cli_test(doctor_missing_driver EXIT 0 MATCH "nosuch: unavailable: no file halyard-nosuch.so" ARGS doctor
  ENV HALYARD_DRIVERS=host:nosuch)
hal_cli_test(doctor_driver_exits EXIT 1 MATCH "bad-exits.so: called exit.3. while it was loaded" ARGS doctor
  ENV HALYARD_DRIVERS=host:${PROJECT_BINARY_DIR}/lib/bad/bad-exits.so)
hal_cli_test(doctor_driver_crashes EXIT 1 MATCH "bad-crashes.so: ended its process by signal 6 .SIGABRT." ARGS doctor
  ENV HALYARD_DRIVERS=${PROJECT_BINARY_DIR}/lib/bad/bad-crashes.so:${PROJECT_BINARY_DIR}/lib/bad/bad-exits.so)
hal_cli_test(doctor_nothing EXIT 1 MATCH "Nothing is usable. Try" ARGS doctor ENV HALYARD_DRIVERS=nosuch)
hal_cli_test(doctor_typo EXIT 0 MATCH "HALYARD_TRAEC +is set and nobody reads it" ARGS doctor ENV HALYARD_TRAEC=x)

# -- graph
hal_cli_test(graph_missing EXIT 1 MATCH "no-such.hal cannot be opened: No such file.*NOT_FOUND" ARGS graph no-such.hal)
hal_cli_test(graph_damaged EXIT 1 MATCH "INVALID_IMAGE" ARGS graph ${data}/digits_labels.npy)

# -- run, on the demo's graph
set(work "${CMAKE_CURRENT_BINARY_DIR}")
set(digits --graph ${work}/digits.graph)
set(pixels --in pixels=${work}/pixels.npy)
hal_cli_test(export EXIT 0 MATCH "^halyard run" ARGS demo --batch 9 --export ${work})
set_tests_properties(cli_export PROPERTIES FIXTURES_SETUP digits_files)
hal_cli_test(graph EXIT 0 MATCH "= contract" ARGS graph ${work}/digits.graph)
hal_cli_test(graph_steps EXIT 0 MATCH "as contract %[0-9]+ = .*then max" ARGS graph ${work}/digits.graph)
hal_cli_test(graph_svg EXIT 0 MATCH "nodes in [0-9]+ steps -> " ARGS graph ${work}/digits.graph --svg ${work}/digits.svg)
hal_cli_test(graph_svg_unwritable EXIT 1 MATCH "cannot be written" ARGS graph ${work}/digits.graph
  --svg ${work}/no/such.svg)
hal_cli_test(graph_same EXIT 0 MATCH "the graphs are the same" ARGS graph ${work}/digits.graph
  --compare ${work}/digits.graph)
hal_cli_test(graph_compare EXIT 0 MATCH "probabilities f32.*all 90 elements agree" ARGS graph ${work}/digits.graph
  --compare reference,host:0,cuda:0,rngd:0 --in pixels=${work}/pixels.npy)
hal_cli_test(graph_compare_one EXIT 2 MATCH "expected two devices or more" ARGS graph ${work}/digits.graph
  --compare host:0)
hal_cli_test(graph_compare_nowhere EXIT 1 MATCH "no driver 'nosuch'" ARGS graph ${work}/digits.graph
  --compare reference,nosuch:0)
hal_cli_test(graph_compare_no_input EXIT 1 MATCH "expected NAME=FILE.npy with an input of graph" ARGS graph
  ${work}/digits.graph --compare reference,host:0 --in x=${work}/pixels.npy)
hal_cli_test(graph_seed_unused EXIT 2 MATCH "--seed says what devices are compared with, and none are" ARGS graph
  ${work}/digits.graph --seed 7)
hal_cli_test(graph_input_unused EXIT 2 MATCH "--in says what devices are compared with, and none are" ARGS graph
  ${work}/digits.graph --compare ${work}/digits.graph --in pixels=${work}/pixels.npy)
hal_cli_test(graph_bad_seed EXIT 2 MATCH "--seed -1: expected a whole number from 0 to" ARGS graph ${work}/digits.graph
  --compare reference,host:0 --seed -1)
hal_cli_test(graph_size_twice EXIT 2 MATCH "--size n=5: 'n' is given twice" ARGS graph
  ${PROJECT_SOURCE_DIR}/hal/graph/fuzz_corpus/dynamic.layer.graph --size n=4 --size n=5)
hal_cli_test(graph_bad_size EXIT 1 MATCH "--size n=4: expected NAME=SIZE with a symbol" ARGS graph ${work}/digits.graph
  --size n=4)
hal_cli_test(run EXIT 0 MATCH "label i32\\[9\\] -> " ARGS run --device host:0 ${digits} ${pixels}
  --out label=${work}/label.npy --out probabilities=${work}/probabilities.npy)
set(symbolic run --graph "${PROJECT_SOURCE_DIR}/hal/graph/fuzz_corpus/dynamic.layer.graph")
set(npys "${PROJECT_SOURCE_DIR}/samples/digits/npy_corpus")
hal_cli_test(run_symbolic EXIT 0 MATCH "y f32\\[3, 3\\]" ARGS ${symbolic} --device host:0 --in x=${npys}/rows
  --out y=/dev/null)
hal_cli_test(run_symbolic_misfit EXIT 1 MATCH "shape is \\[2, 3\\]; the entry is graph dynamic.layer\\(in x f32\\[n, 4\\]"
  ARGS ${symbolic} --device host:0 --in x=${npys}/matrix)
hal_cli_test(run_symbolic_emulated EXIT 0 MATCH "y f32\\[3, 3\\]" ARGS ${symbolic} --device rngd:0 --in x=${npys}/rows
  --out y=/dev/null)
hal_cli_test(run_endless_npy EXIT 1 MATCH "byte 0: magic" ARGS ${symbolic} --device host:0 --in x=/dev/zero)
hal_cli_test(graph_endless EXIT 1 MATCH "/dev/zero" ARGS graph /dev/zero)
hal_cli_test(run_missing_input EXIT 1 MATCH "'pixels' is missing: give --in pixels=FILE.npy; the entry is graph digits"
  ARGS run --device host:0 ${digits})
hal_cli_test(run_wrong_name EXIT 1 MATCH "there is no parameter 'x'" ARGS run --device host:0 ${digits} --in x=y.npy)
hal_cli_test(run_twice EXIT 2 MATCH "'pixels' is given twice" ARGS run --device host:0 ${digits} ${pixels} ${pixels})
hal_cli_test(run_wrong_shape EXIT 1 MATCH "the file holds u8, the parameter is f32" ARGS run --device host:0 ${digits}
  --in pixels=${data}/digits_labels.npy)
hal_cli_test(run_malformed_npy EXIT 1 MATCH "byte 0: magic" ARGS run --device host:0 ${digits}
  --in pixels=${work}/digits.graph)
hal_cli_test(run_missing_npy EXIT 1 MATCH "no-such.npy: cannot be opened" ARGS run --device host:0 ${digits}
  --in pixels=no-such.npy)
hal_cli_test(run_wrong_entry EXIT 1 MATCH "NOT_FOUND" ARGS run --device host:0 ${digits} ${pixels} --entry nosuch)
hal_cli_test(run_grid_for_graph EXIT 1 MATCH "INVALID_ARGUMENT" ARGS run --device host:0 ${digits} ${pixels} --grid 1)
hal_cli_test(run_unwritable EXIT 1 MATCH "cannot be written: No such file" ARGS run --device host:0 ${digits} ${pixels}
  --out label=${work}/no/such/label.npy)
hal_cli_test(run_on_a_port EXIT 1 MATCH "UNSUPPORTED" ARGS run --device photonic:0 ${digits} ${pixels})
foreach(test graph graph_steps graph_svg graph_svg_unwritable graph_same graph_compare graph_compare_one
        graph_compare_nowhere graph_compare_no_input graph_seed_unused graph_input_unused
        graph_bad_seed graph_bad_size run run_missing_input run_wrong_name run_twice run_wrong_shape run_malformed_npy run_missing_npy
        run_wrong_entry run_grid_for_graph run_unwritable run_on_a_port)
  set_tests_properties(cli_${test} PROPERTIES FIXTURES_REQUIRED digits_files)
endforeach()

# -- replay, of a run on the host
hal_cli_test(record EXIT 0 MATCH "label i32" ARGS run --device host:0 ${digits} ${pixels} --out label=${work}/recorded.npy
  ENV HALYARD_LAYERS=record=${work}/run.halrec)
set_tests_properties(cli_record PROPERTIES FIXTURES_REQUIRED digits_files FIXTURES_SETUP run_record)
# A driver that calls exit() ends the process; with whatever status it does, the tool has failed.
set(exiting "${PROJECT_BINARY_DIR}/lib/bad/bad-calls_exit.so")
hal_cli_test(devices_driver_exits EXIT 1 MATCH "bad-exits.so called exit.. while it was loaded" ARGS devices
  ENV HALYARD_DRIVERS=host:${PROJECT_BINARY_DIR}/lib/bad/bad-exits.so)
hal_cli_test(run_driver_exits EXIT 1 MATCH "bad-calls_exit.so called exit.. in program_load.." ARGS run --device bad:0
  ${digits} ENV HALYARD_DRIVERS=${exiting})
hal_cli_test(replay_driver_exits EXIT 1 MATCH "called exit.0. before the command was done" ARGS replay ${work}/run.halrec
  --device bad:0 ENV HALYARD_DRIVERS=${exiting})
set_tests_properties(cli_run_driver_exits PROPERTIES FIXTURES_REQUIRED digits_files)
set_tests_properties(cli_replay_driver_exits PROPERTIES FIXTURES_REQUIRED run_record)
hal_cli_test(replay EXIT 0 MATCH "^PASS: everything that the host looked at" ARGS replay ${work}/run.halrec
  --device "host:0?mode=weak&seed=7")
hal_cli_test(replay_as_recorded EXIT 0 MATCH "^PASS: everything" ARGS replay ${work}/run.halrec)
set_tests_properties(cli_replay cli_replay_as_recorded PROPERTIES FIXTURES_REQUIRED run_record)
foreach(layer record trace)
  hal_cli_test(${layer}_full_disk EXIT 1 MATCH "^halyard error: ${layer}: /dev/full is incomplete.*: No space left on device"
    ARGS run --device host:0 ${digits} ${pixels} ENV HALYARD_LAYERS=${layer}=/dev/full)
  set_tests_properties(cli_${layer}_full_disk PROPERTIES FIXTURES_REQUIRED digits_files)
endforeach()
hal_cli_test(record_nowhere EXIT 1 MATCH "cannot write /no/such/file: No such file" ARGS devices
  ENV HALYARD_LAYERS=record=/no/such/file)
hal_cli_test(devices_to_full_disk EXIT 1 MATCH "^halyard error: record: /dev/full is incomplete" ARGS devices
  ENV HALYARD_LAYERS=record=/dev/full)
hal_cli_test(replay_no_recording EXIT 1 MATCH "this is no recording" ARGS replay ${data}/digits_labels.npy)
hal_cli_test(replay_missing EXIT 1 MATCH "no-such.halrec cannot be opened" ARGS replay no-such.halrec)

# -- cache, of a run on the RNGD emulator
set(cached "${work}/program_cache")
hal_cli_test(cache_fill EXIT 0 MATCH "label i32" ARGS run --device rngd:0 ${digits} ${pixels} --out label=${work}/cached.npy
  ENV HALYARD_CACHE=${cached})
set_tests_properties(cli_cache_fill PROPERTIES FIXTURES_REQUIRED digits_files FIXTURES_SETUP filled_cache)
hal_cli_test(cache_list EXIT 0 MATCH "^[0-9a-f]+ .* ago +digits +driver rngd .*compiled for 4 PEs" ARGS cache list
  ENV HALYARD_CACHE=${cached})
hal_cli_test(cache_json EXIT 0 MATCH "\"schema\": \"halyard-cache/1\"" ARGS cache list --json --folder ${cached})
hal_cli_test(cache_verify EXIT 0 MATCH "^1 file, .*: all whole$" ARGS cache verify --folder ${cached})
hal_cli_test(cache_clear EXIT 0 MATCH "^1 file removed, " ARGS cache clear --folder ${cached})
set_tests_properties(cli_cache_list cli_cache_json cli_cache_verify PROPERTIES FIXTURES_REQUIRED filled_cache)
set_tests_properties(cli_cache_clear PROPERTIES FIXTURES_CLEANUP filled_cache)
string(REPEAT a 64 key)
file(WRITE "${work}/damaged_cache/${key}.halprog" "no program")
hal_cli_test(cache_damaged EXIT 1 MATCH "aaa.halprog: hal.program: offset 0: the file has 10 bytes" ARGS cache verify
  --folder ${work}/damaged_cache)
# A name forges no line, and a link to nowhere is damaged as any other.
set(forged "${work}/forged_cache")
file(REMOVE_RECURSE "${forged}")
file(MAKE_DIRECTORY "${forged}/.new-\n1 file: all whole")
execute_process(COMMAND touch -d 2020-01-01 "${forged}/.new-\n1 file: all whole" COMMAND_ERROR_IS_FATAL ANY)
hal_cli_test(cache_forged_verify EXIT 1 MATCH "/.new-.1 file: all whole: it was never finished$" ARGS cache verify --folder ${forged})
hal_cli_test(cache_forged_clear EXIT 1 MATCH "/.new-.1 file: all whole: Is a directory" ARGS cache clear --folder ${forged})
set(dangling "${work}/dangling_cache")
file(MAKE_DIRECTORY "${dangling}")
add_test(NAME cli_cache_dangling_made COMMAND ${CMAKE_COMMAND} -E create_symlink nowhere ${dangling}/${key}.halprog)
hal_cli_test(cache_dangling EXIT 1 MATCH "${key}.halprog: it is a link$" ARGS cache verify --folder ${dangling})
hal_cli_test(cache_dangling_cleared EXIT 0 MATCH "^1 file removed, " ARGS cache clear --damaged --folder ${dangling})
set_tests_properties(cli_cache_dangling_made PROPERTIES FIXTURES_SETUP dangling_cache)
set_tests_properties(cli_cache_dangling PROPERTIES FIXTURES_REQUIRED dangling_cache)
set_tests_properties(cli_cache_dangling_cleared PROPERTIES FIXTURES_CLEANUP dangling_cache)
hal_cli_test(cache_nowhere EXIT 1 MATCH "there is no folder /nonexistent" ARGS cache list --folder /nonexistent)
hal_cli_test(cache_which EXIT 2 MATCH "which folder. Give --folder, or set HALYARD_CACHE" ARGS cache clear)
hal_cli_test(cache_nothing EXIT 2 MATCH "subcommand is required" ARGS cache)

# -- demo
hal_cli_test(demo EXIT 0 MATCH "^PASS: all [0-9]+ runs agree with the reference$" TIMEOUT 600 ARGS demo)
hal_cli_test(demo_trace EXIT 0 MATCH "^trace: " TIMEOUT 600 ARGS demo ENV HALYARD_TRACE=${work}/demo.trace.json)
set_tests_properties(cli_demo_trace PROPERTIES FIXTURES_SETUP demo_trace)
set_tests_properties(cli_demo cli_demo_trace PROPERTIES RUN_SERIAL ON)  # both cores are theirs, which sanitizers need
if(Python3_FOUND)
  add_test(NAME cli_demo_trace_is_whole COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/demo/check_trace.py
    ${work}/demo.trace.json)
  hal_time_limit(60 cli_demo_trace_is_whole)
  set_tests_properties(cli_demo_trace_is_whole PROPERTIES LABELS cli FIXTURES_REQUIRED demo_trace)
endif()
hal_cli_test(demo_no_data EXIT 1 MATCH "no/such/data/digits_images.npy" ARGS demo --samples no/such)
hal_cli_test(demo_nothing EXIT 1 MATCH "FAIL: 0 of 0" ARGS demo ENV HALYARD_DRIVERS=nosuch)
hal_cli_test(demo_bad_batch EXIT 2 MATCH "--batch" ARGS demo --batch 0)
hal_cli_test(demo_rank_alone EXIT 1 MATCH "runs in a world of 2" ARGS demo-rank --result x --device host:0 host:0)

# -- run, bad input
hal_cli_test(run_no_program EXIT 2 MATCH "--graph" ARGS run --device host:0)
hal_cli_test(run_missing_graph EXIT 1 MATCH "no-such.hal cannot be opened" ARGS run --device host:0 --graph no-such.hal)
hal_cli_test(run_bad_image EXIT 2 MATCH "expected FORMAT:FILE" ARGS run --device host:0 --image ptx)
hal_cli_test(run_functions EXIT 2 MATCH "cannot come from a file" ARGS run --device host:0
  --image host.functions:${data}/digits_labels.npy)
hal_cli_test(run_damaged_graph EXIT 1 MATCH "INVALID_IMAGE" ARGS run --device host:0 --graph ${data}/digits_labels.npy)
hal_cli_test(run_bad_grid EXIT 2 MATCH "--grid 1,x: expected one to three numbers" ARGS run --device host:0
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
hal_cli_test(launch_no_ranks EXIT 2 MATCH "--ranks" ARGS launch -n 0 true)
hal_cli_test(launch_timeout EXIT 124 MATCH "." ARGS launch -n 2 --timeout 0.2 sleep 30)
hal_cli_test(launch_bad_timeout EXIT 2 MATCH "--timeout: expected seconds from 0 to 31536000, not .nan." ARGS launch -n 2 --timeout nan true)

# -- bench
hal_cli_test(bench EXIT 0 MATCH "^enqueue an empty command +host:0 +no " ARGS bench --device host:0 --repetitions 1
  --no-peers)
hal_cli_test(bench_json EXIT 0 MATCH "\"schema\": \"halyard-bench/2\"" ARGS bench --device host:0 --repetitions 1
  --only barrier --json)
hal_cli_test(bench_list EXIT 0 MATCH "^null barrier\thost:0" ARGS bench --device host:0 --list)
hal_cli_test(bench_no_such_row EXIT 1 MATCH "no row's name has 'nosuch'" ARGS bench --device host:0 --only nosuch)
hal_cli_test(bench_with_liar EXIT 1 MATCH "no two tabs in 'what'" ARGS bench --device host:0 --only "null barrier"
  --no-peers --with "echo what")
hal_cli_test(bench_with_shell EXIT 1 MATCH "the '.' at 7 is the shell's.*NAME=VALUE in front.*sh -c" ARGS bench --device host:0
  --only "null barrier" --no-peers --with "echo a | cat")
hal_cli_test(bench_device_twice EXIT 2 MATCH "--device host:0 is given twice" ARGS bench --device host:0 --device host:0 --list)
hal_cli_test(bench_with_nobody EXIT 1 MATCH "no-such-program.: No such file" ARGS bench --device host:0 --only "null barrier"
  --no-peers --with "no-such-program")
hal_cli_test(bench_unknown_device EXIT 1 MATCH "no driver 'nosuch'" ARGS bench --device nosuch:0)

# -- conformance (the suite over each device is the conformance folder's own)
hal_cli_test(conformance EXIT 0 MATCH "MEM-0" ARGS conformance --device host:0 --case "MEM-*")
hal_cli_test(conformance_two_cases EXIT 0 MATCH "^TLS-001/" ARGS conformance --list --case TLS-001 --case MEM-001)
hal_cli_test(conformance_no_case EXIT 2 MATCH "no case matches 'NOSUCH'" ARGS conformance --case MEM-001 --case NOSUCH)
hal_cli_test(conformance_device_twice EXIT 2 MATCH "--device is given twice" ARGS conformance --device host:0
  --device cuda:0)
hal_cli_test(conformance_no_batch EXIT 2 MATCH "--batch needs a whole number above 0, not '0.5'" ARGS conformance --batch 0.5)
hal_cli_test(conformance_fault_alone EXIT 2 MATCH "--fault is for --faults" ARGS conformance --fault SF-001)
hal_cli_test(conformance_no_shim EXIT 2 MATCH "the fault shim /nonexistent cannot be used: .*No such file" ARGS conformance
  --faults --shim /nonexistent)
hal_cli_test(conformance_no_fault EXIT 2 MATCH "no fault matches" ARGS conformance --faults --fault "NOSUCH*")
hal_cli_test(conformance_list EXIT 0 MATCH "^ *MEM-0" ARGS conformance --list)
hal_cli_test(conformance_bad_option EXIT 2 MATCH "unknown option '--frobnicate'" ARGS conformance --frobnicate)
hal_cli_test(conformance_unknown_device EXIT 2 MATCH "nosuch" ARGS conformance --device nosuch:0)

# -- every device family
hal_cli_test(devices_all EXIT 0 MATCH "^rngd:0 .*emulated.* yes " ARGS devices)
hal_cli_test(devices_verbose EXIT 0 MATCH "partition +yes: open rngd" ARGS devices --verbose)
hal_cli_test(run_on_a_part EXIT 0 MATCH "on rngd:0/pe0-1 " ARGS run --device rngd:0/pe0-1 ${digits} ${pixels}
  --out label=${work}/part_label.npy)
hal_cli_test(run_on_emulated_cuda EXIT 0 MATCH "on cuda:0 .*mulated" ARGS run --device cuda:0 ${digits} ${pixels}
  --out label=${work}/cuda_label.npy)
set(pack "${PROJECT_SOURCE_DIR}/conformance/kernels")
set(saxpy --image ptx:${pack}/pack.ptx --manifest ${pack}/pack.manifest --entry pack_saxpy)
set(x_and_y --in x=${work}/pixels.npy --in y=${work}/pixels.npy --out y=${work}/saxpy.npy)
hal_cli_test(run_kernel EXIT 0 MATCH "^pack_saxpy on cuda:0 " ARGS run --device cuda:0 ${saxpy} ${x_and_y} --grid 9
  --set n=576 --set a=2)
hal_cli_test(run_kernel_bad_scalar EXIT 1 MATCH "--set n=many: is no u32 in range" ARGS run --device cuda:0 ${saxpy}
  ${x_and_y} --grid 9 --set n=many --set a=2)
hal_cli_test(run_kernel_no_grid EXIT 1 MATCH "grid" ARGS run --device cuda:0 ${saxpy} ${x_and_y} --set n=576 --set a=2)
hal_cli_test(run_kernel_on_graph_device EXIT 1 MATCH "UNSUPPORTED" ARGS run --device rngd:0 ${saxpy} ${x_and_y} --grid 9
  --set n=576 --set a=2)
hal_cli_test(run_two_entries EXIT 1 MATCH "entries.*name one with --entry" ARGS run --device cuda:0
  --image ptx:${pack}/pack.ptx --manifest ${pack}/pack.manifest)
hal_cli_test(run_no_such_part EXIT 1 MATCH "pe9" ARGS run --device rngd:0/pe9 ${digits} ${pixels})
foreach(test run_on_a_part run_on_emulated_cuda run_kernel run_kernel_bad_scalar run_kernel_no_grid
        run_kernel_on_graph_device run_two_entries run_no_such_part)
  set_tests_properties(cli_${test} PROPERTIES FIXTURES_REQUIRED digits_files)
endforeach()

execute_process(COMMAND printf "entry a kernel\\000entry b" OUTPUT_FILE "${work}/nul.manifest" COMMAND_ERROR_IS_FATAL ANY)
hal_cli_test(run_manifest_with_nul EXIT 1 MATCH "nul.manifest: byte 14 is 0, and a manifest is text" ARGS run --device cuda:0
  --image ptx:${pack}/pack.ptx --manifest ${work}/nul.manifest)

# -- topology
if(TARGET hal_topology)
  hal_cli_test(topology EXIT 0 MATCH "^host:0 .*no PCI address" ARGS topology --svg ${work}/topology.svg)
  hal_cli_test(topology_synthetic EXIT 0 MATCH "^1 +1 +.* 4-7 +20 +10" ARGS topology --from
    "synthetic:pack:2 numa:1 core:4 pu:1")
  hal_cli_test(topology_json EXIT 0 MATCH "\"schema\": \"halyard-topology/1\"" ARGS topology --json)
  hal_cli_test(topology_bad_source EXIT 1 MATCH "neither .xml:. nor .synthetic:." ARGS topology --from nonsense)
endif()
