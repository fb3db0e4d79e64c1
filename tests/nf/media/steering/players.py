"""Manifests in the form in which Shaka Packager 3.8.0 writes them."""

from __future__ import annotations

SHAKA_MULTIVARIANT = """#EXTM3U
## Generated with https://github.com/shaka-project/shaka-packager version v3.8.0-release

#EXT-X-MEDIA:TYPE=AUDIO,URI="audio.m3u8",GROUP-ID="audio",NAME="main",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2"

#EXT-X-STREAM-INF:BANDWIDTH=545176,CODECS="avc1.4d400d,mp4a.40.2",RESOLUTION=160x90,AUDIO="audio"
video.m3u8
"""

SHAKA_MPD = """<?xml version="1.0" encoding="UTF-8"?>
<!--Generated with https://github.com/shaka-project/shaka-packager version v3.8.0-release-->
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="dynamic"
     minBufferTime="PT2S" publishTime="2026-11-23T01:34:16Z" availabilityStartTime="2026-11-23T01:34:13Z">
  <Period id="0" start="PT0S">
    <AdaptationSet id="0" contentType="video" width="160" height="90" segmentAlignment="true">
      <Representation id="0" bandwidth="400000" codecs="avc1.4d400d" mimeType="video/mp4" sar="1:1">
        <SegmentTemplate timescale="90000" initialization="video/init-7.mp4" media="video/$Number$.m4s" startNumber="7">
          <SegmentTimeline>
            <S t="0" d="180000" r="3"/>
          </SegmentTimeline>
        </SegmentTemplate>
      </Representation>
    </AdaptationSet>
  </Period>
</MPD>
"""
