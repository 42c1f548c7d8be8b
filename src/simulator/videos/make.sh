#!/bin/sh
# Makes the simulator's videos anew: one for each size the API delivers, 121 frames at 24 a second, as the API's are.
# Needs ffmpeg with libx264. Run it in this folder.
set -eu
cd "$(dirname "$0")"
for size in 1280x720 720x1280 720x1680 960x960 960x720 720x960 1680x720; do
    ffmpeg -hide_banner -loglevel error -y \
        -f lavfi -i "gradients=size=$size:rate=24:speed=0.012:seed=7:nb_colors=3:type=linear:c0=0x1b2a49:c1=0xd98e5f:c2=0x5f9ea0" \
        -f lavfi -i "testsrc2=size=160x120:rate=24" \
        -filter_complex "[1:v]format=yuva420p,colorchannelmixer=aa=0.6[mark];[0:v][mark]overlay=x=W/2-w/2+(W-w)/4*sin(t):y=H/2-h/2" \
        -frames:v 121 -c:v libx264 -preset veryslow -crf 46 -pix_fmt yuv420p -threads 1 \
        -map_metadata -1 -fflags +bitexact -flags:v +bitexact -movflags +faststart \
        "$size.mp4"
done
