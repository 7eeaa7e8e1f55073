<?php

return [
    'aionotify' => [
        'url' => 'http://127.0.0.1:8001',
        'key' => env('PUBLISH_KEY'),
    ],
];
