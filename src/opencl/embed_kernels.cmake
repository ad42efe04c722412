# embed_kernels.cmake - kernel text becomes part of the library.
#
# Included by CMakeLists.txt it defines qemb_embed_kernels(OUT): one generated C file that holds every kernels_cl/*.cl and
# kernels_cl/shared/*.h and the table declared in src/opencl/kernel_files.h. The build runs it again as a script,
#     cmake -DFROM=kernels_cl -DNAMES=a.cl,shared/b.h -DOUTPUT=kernel_files.c -P embed_kernels.cmake
# which writes that file. Each text carries a closing zero that its length does not count.
#
# qemb_embed_text(OUT file.cl symbol): one text of a program, as `const char symbol[]` in a generated C file; the same script with
#     cmake -DFROM=src/dlrm -DNAMES=dlrm.cl -DSYMBOL=dlrm_kernel_text -DOUTPUT=dlrm_kernel_text.c -P embed_kernels.cmake

if(CMAKE_SCRIPT_MODE_FILE)
  if(SYMBOL)
    file(READ ${FROM}/${NAMES} hex HEX)
    string(REGEX REPLACE "(................................................................)" "\\1\n" hex "${hex}")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
    file(WRITE ${OUTPUT} "extern const char ${SYMBOL}[];\nconst char ${SYMBOL}[] = {\n${hex}\n0x00};\n")
    return()
  endif()
  string(REPLACE "," ";" names "${NAMES}")
  set(arrays "")
  set(rows "")
  foreach(name IN LISTS names)
    file(READ ${FROM}/${name} hex HEX)
    string(REGEX REPLACE "(................................................................)" "\\1\n" hex "${hex}")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
    string(MAKE_C_IDENTIFIER "text_${name}" symbol)
    string(APPEND arrays "static const unsigned char ${symbol}[] = {\n${hex}\n0x00};\n\n")
    string(APPEND rows "    {\"${name}\", ${symbol}, sizeof ${symbol} - 1},\n")
  endforeach()
  file(WRITE ${OUTPUT}
    "#include \"opencl/kernel_files.h\"\n\n${arrays}"
    "const qemb__kernel_file qemb__kernel_files[] = {\n${rows}"
    "    {NULL, NULL, 0}, /* so that the table is never empty */\n};\n"
    "const int qemb__kernel_file_count = (int)(sizeof qemb__kernel_files / sizeof qemb__kernel_files[0]) - 1;\n")
  return()
endif()

set(QEMB_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

function(qemb_embed_kernels out)
  set(from ${PROJECT_SOURCE_DIR}/kernels_cl)
  set(generated ${PROJECT_BINARY_DIR}/kernel_files.c)
  file(GLOB names CONFIGURE_DEPENDS RELATIVE ${from} ${from}/*.cl ${from}/shared/*.h)
  list(TRANSFORM names PREPEND ${from}/ OUTPUT_VARIABLE files)
  list(JOIN names "," names)
  add_custom_command(OUTPUT ${generated}
    COMMAND ${CMAKE_COMMAND} -DFROM=${from} -DNAMES=${names} -DOUTPUT=${generated} -P ${QEMB_EMBED_SCRIPT}
    DEPENDS ${files} ${QEMB_EMBED_SCRIPT} COMMENT "Embedding the kernels" VERBATIM)
  set(${out} ${generated} PARENT_SCOPE)
endfunction()

function(qemb_embed_text out file symbol)
  get_filename_component(from ${file} DIRECTORY)
  get_filename_component(name ${file} NAME)
  set(generated ${PROJECT_BINARY_DIR}/${symbol}.c)
  add_custom_command(OUTPUT ${generated}
    COMMAND ${CMAKE_COMMAND} -DFROM=${from} -DNAMES=${name} -DSYMBOL=${symbol} -DOUTPUT=${generated} -P ${QEMB_EMBED_SCRIPT}
    DEPENDS ${file} ${QEMB_EMBED_SCRIPT} COMMENT "Embedding ${name}" VERBATIM)
  set(${out} ${generated} PARENT_SCOPE)
endfunction()
